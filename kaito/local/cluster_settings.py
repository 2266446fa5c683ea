"""Settings of a local cluster, whoever starts it: the command line, the demo or a test."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kaito.local.robots.run import ALL_ROBOTS
from kaito.local.robots.settings import INFERENCE_IMAGE, RAG_IMAGE, TUNING_IMAGE, RobotSettings

MINORS = (20, 36)  # the ends of what we emulate

# The images that stand for commands of this machine where a container names none.
OWN_IMAGES: dict[str, tuple[str, ...]] = {
    INFERENCE_IMAGE: ("python", "-m", "kaito.inference"),
    TUNING_IMAGE: ("python", "-m", "kaito.tuning"),
    RAG_IMAGE: ("python", "-m", "kaito.rag"),
}


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """`directory` holds all that the cluster writes; `port` 0 takes a free one; `minor`: the Kubernetes imitated."""

    directory: Path
    kubeconfig: Path
    port: int = 0
    pods: Literal["real", "instant"] = "real"
    minor: int = MINORS[-1]
    has_operator: bool = True
    is_persistent: bool = True
    weights: Path | None = None
    images: tuple[str, ...] = ()  # globs of images beside our own whose commands exist on this machine
    robots: RobotSettings = field(default_factory=RobotSettings)
    only: tuple[str, ...] = ALL_ROBOTS

    @property
    def known_images(self) -> dict[str, tuple[str, ...]]:
        return OWN_IMAGES | dict.fromkeys(self.images, ())


def checked_weights(text: str) -> Path:
    """The folder of real weights. Raises ValueError that says what was expected there."""
    folder = Path(text).expanduser().resolve()
    if not folder.is_dir():
        raise ValueError(f"--weights {text!r}: not a folder")
    if (
        not any(folder.glob("config.json"))
        and not any(folder.glob("*/config.json"))
        and not any(folder.glob("*/*/config.json"))
    ):
        raise ValueError(
            f"--weights {text!r}: no config.json in it, in NAME/ or in ORG/NAME/; expected a model folder as "
            "`huggingface-cli download ORG/NAME --local-dir FOLDER` makes it"
        )
    return folder


def checked_minor(text: str) -> int:
    """The minor version of `1.20` or `1.36`. Raises ValueError."""
    for minor in MINORS:
        if text in (f"1.{minor}", f"v1.{minor}"):
            return minor
    raise ValueError(f"--emulate {text!r}: choose one of {', '.join(f'1.{minor}' for minor in MINORS)}")
