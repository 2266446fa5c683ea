"""A disk on which the process dies: at the n-th system call, before it, after it, or in the middle of a write."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from kaito.rag.persist.disk import Disk


class DyingDisk(Disk):
    """`fuse`: calls left until SIGKILL; `share` of the bytes of a write that still get through."""

    def __init__(self, fuse: int, share: float) -> None:
        self.fuse, self.share = fuse, share

    def _burn(self) -> bool:
        self.fuse -= 1
        return self.fuse < 0

    def _die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write(self, handle: int, data: bytes) -> None:
        if self._burn():
            os.write(handle, data[: int(len(data) * self.share)])
            self._die()
        super().write(handle, data)

    def truncate(self, handle: int, size: int) -> None:
        if self._burn():
            self._die()
        super().truncate(handle, size)

    def sync(self, handle: int) -> None:
        if self._burn():
            self._die()
        super().sync(handle)

    def rename(self, source: Path, target: Path) -> None:
        if self._burn():
            if self.share > 0.5:
                super().rename(source, target)
            self._die()
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        if self._burn():
            self._die()
        super().remove(path)
