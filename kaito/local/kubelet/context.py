"""PodContext: what the containers of one pod share."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal, TypeAlias

from kaito.api.meta import Json
from kaito.clock import Clock
from kaito.local.kubelet.addresses import PodAddress
from kaito.local.kubelet.environment import ReadReference, expand, inherited, variables_of
from kaito.local.kubelet.images import Images, import_path, search_path, with_interpreter
from kaito.local.kubelet.sandbox import Mount, Sandbox, rewrite, rewrite_all
from kaito.local.kubelet.service_names import AddressOf, with_addresses
from kaito.local.robots.endpoints import container_port
from kaito.local.robots.settings import RobotSettings

Tell: TypeAlias = Callable[[Literal["Normal", "Warning"], str, str], Awaitable[None]]
ModelEnvironment: TypeAlias = Callable[[list[str], Path], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Launch:
    """All that is needed to start a container, or a command in it."""

    command: list[str]
    env: dict[str, str]
    cwd: Path
    mounts: list[Mount] = field(default_factory=list)


@dataclass(slots=True)
class PodContext:
    """`changed` is called whenever a container's record does; `tell` posts an Event about the pod."""

    pod: Json
    sandbox: Sandbox
    address: PodAddress
    images: Images
    settings: RobotSettings
    now: Clock
    chance: Random
    read: ReadReference
    model_environment: ModelEnvironment
    service_address: AddressOf
    changed: Callable[[], None]
    tell: Tell

    @property
    def name(self) -> str:
        return str(self.pod["metadata"]["name"])

    @property
    def restart_policy(self) -> str:
        return str(self.pod["spec"].get("restartPolicy") or "Always")

    def resolve_port(self, port: object) -> tuple[str, int]:
        """Where a port of the pod, by number or by name, really listens. Raises ValueError."""
        number = port if isinstance(port, int) else container_port(self.pod, str(port))
        if number is None and str(port).isdecimal():
            number = int(str(port))
        if number is None:
            raise ValueError(f"no container port is named {port!r}")
        return self.address.local(number)

    async def launch(self, container: Json) -> Launch:
        """How to start the container. Raises ConfigError."""
        mounts = self.sandbox.mounts(container)
        named = await variables_of(container, self.pod, self.read, address=self.address.ip)
        own = {name: await self._with_addresses(value) for name, value in named.items()}
        command = [await self._with_addresses(expand(word, own)) for word in self.images.command(container)]
        env = inherited(os.environ) | self._given(container, command) | rewrite_all(own, mounts)
        cwd = self.sandbox.container_dir(container["name"])
        if folder := container.get("workingDir"):
            cwd = _existing(Path(rewrite(folder, mounts)), cwd)
        # The interpreter last: it is this machine's, and may lie where the pod has a mount (/tmp).
        return Launch(with_interpreter([rewrite(word, mounts) for word in command]), env, cwd, mounts)

    async def _with_addresses(self, text: str) -> str:
        return await with_addresses(text, self.pod["metadata"]["namespace"], self.service_address)

    def _given(self, container: Json, command: list[str]) -> dict[str, str]:
        """What every container gets; its own variables come over these."""
        ports = [int(port["containerPort"]) for port in container.get("ports") or []]
        given = {
            "PATH": search_path(os.environ.get("PATH", "")),
            "PYTHONPATH": import_path(),
            "PYTHONUNBUFFERED": "1",
            "HOSTNAME": self.name,
            "HOME": str(self.sandbox.path / "home"),
            "TMPDIR": str(self.sandbox.path / "tmp"),
            "HF_HOME": os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface"),
            "KAITO_POD_UID": self.pod["metadata"]["uid"],
            "KAITO_BIND_ADDRESS": self.address.ip,
        }
        if ports and ports[0] in self.address.ports:
            given["KAITO_BIND_PORT"] = str(self.address.ports[ports[0]])
        return given | self.model_environment(command, self.sandbox.path)


def _existing(folder: Path, otherwise: Path) -> Path:
    """A working directory of the image is not on this machine."""
    return folder if folder.is_dir() else otherwise
