"""An address for every pod: 127.88.x.y on Linux, where all of 127.0.0.0/8 is loopback; elsewhere ports of 127.0.0.1.

An address is held by a bound socket for as long as its pod lives, so that two clusters on one machine never share one.
"""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass, field

PREFIX = "127.88"
HOLD_PORT = 10250  # the kubelet's own: pods do not use it
ADDRESSES_MAX = 254 * 254
LOCALHOST = "127.0.0.1"


@dataclass(slots=True)
class PodAddress:
    """Where a pod listens. `ports` maps a container port to the local one where they differ."""

    ip: str
    ports: dict[int, int] = field(default_factory=dict)
    _held: list[socket.socket] = field(default_factory=list)

    def local(self, port: int) -> tuple[str, int]:
        """Where the pod's port really listens."""
        return self.ip, self.ports.get(port, port)

    def release(self) -> None:
        for held in self._held:
            held.close()
        self._held.clear()


def reserve(container_ports: list[int], *, preferred: str = "", has_own: bool = sys.platform == "linux") -> PodAddress:
    """An address that nobody has. Raises RuntimeError when there is none left."""
    if not has_own:
        return PodAddress(LOCALHOST, {port: _free_port() for port in container_ports})
    if preferred.startswith(PREFIX + ".") and (held := _hold(preferred)):
        return PodAddress(preferred, {}, [held])
    for index in range(ADDRESSES_MAX):
        ip = f"{PREFIX}.{index // 254}.{1 + index % 254}"
        if held := _hold(ip):
            return PodAddress(ip, {}, [held])
    raise RuntimeError(f"every address of {PREFIX}.0.0/16 is taken")


def _hold(ip: str) -> socket.socket | None:
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.bind((ip, HOLD_PORT))
    except OSError:
        held.close()
        return None
    return held


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as found:
        found.bind((LOCALHOST, 0))
        return int(found.getsockname()[1])
