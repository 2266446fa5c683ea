"""Which images run here, and as what: without a container runtime an image stands for a command of this machine."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from kaito.api.meta import Json

PYTHON_NAMES = frozenset({"python", "python3"})
PULL_FAILED = (
    'failed to pull image "{image}": the local cluster runs only images that it knows ({known}) as processes of this '
    "machine; start it with --image '{image}' if the container's command exists here, or with --pods instant to only "
    "go through the stages"
)


@dataclass(frozen=True, slots=True)
class Images:
    """`known`: globs of image names, each with the command that an image of it runs where the container names none."""

    known: dict[str, tuple[str, ...]]

    def refusal(self, image: str) -> str:
        """Why the image cannot be pulled; empty when it is known."""
        if self._entry(image) is not None:
            return ""
        return PULL_FAILED.format(image=image or "(none)", known=", ".join(self.known))

    def command(self, container: Json) -> list[str]:
        """What the container runs; empty when nothing says what."""
        entry = list(self._entry(container.get("image") or "") or ())
        return [str(word) for word in (*(container.get("command") or entry), *(container.get("args") or []))]

    def _entry(self, image: str) -> tuple[str, ...] | None:
        return next((entry for glob, entry in self.known.items() if fnmatchcase(image, glob)), None)


def with_interpreter(command: list[str]) -> list[str]:
    """The command with the interpreter that runs us for `python`."""
    return [sys.executable, *command[1:]] if command and command[0] in PYTHON_NAMES else command


def search_path(host_path: str) -> str:
    """PATH for containers: `python` is first of all the interpreter that runs us."""
    return os.pathsep.join([str(Path(sys.executable).parent), host_path or os.defpath])


def import_path() -> str:
    """PYTHONPATH under which `python -m kaito.…` works whether or not kaito is installed."""
    return str(Path(__file__).resolve().parents[3])
