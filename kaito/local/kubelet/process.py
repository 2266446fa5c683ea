"""A container's process: the leader of a process group that dies with the kubelet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.abc

LAUNCHER = str(Path(__file__).with_name("launch.py"))
VMSTAT = Path("/proc/vmstat")


class Process:
    """A running command. `pid` is also its process group."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self._process = process
        self.pid = process.pid
        self._oom_kills = _oom_kills()
        self._was_killed = False

    @property
    def output(self) -> anyio.abc.ByteReceiveStream:
        """Standard output and standard error, in the order in which they were written."""
        assert self._process.stdout is not None
        return self._process.stdout

    async def wait(self) -> int:
        """The exit status as containers count: 128 + n for signal n."""
        status = await self._process.wait()
        return status if status >= 0 else 128 - status

    @property
    def is_out_of_memory(self) -> bool:
        """Whether the kernel, and not we, killed it while it killed for memory."""
        is_kill = self._process.returncode == -signal.SIGKILL and not self._was_killed
        return is_kill and _oom_kills() > self._oom_kills

    def send(self, number: signal.Signals) -> None:
        """Signals the whole group; one that is gone is fine."""
        self._was_killed = self._was_killed or number == signal.SIGKILL
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def stop(self, grace_s: float) -> None:
        """SIGTERM to the group, the grace for its leader, SIGKILL to whatever is left; the leader is gone then."""
        self.send(signal.SIGTERM)
        with anyio.move_on_after(grace_s):
            await self._process.wait()
        self.send(signal.SIGKILL)
        await self._process.wait()

    async def aclose(self) -> None:
        """Ends what is left, without grace."""
        self.send(signal.SIGKILL)
        with anyio.CancelScope(shield=True):
            await self._process.wait()
            if self._process.stdout is not None:
                await self._process.stdout.aclose()


async def start(command: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> Process:
    """Starts the command. One that cannot be executed ends with status 126 or 127 and says why on its output."""
    argv = [sys.executable, "-I", "-S", LAUNCHER, str(os.getpid()), *command]
    process = await anyio.open_process(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
    )
    return Process(process)


def _oom_kills() -> int:
    """How often the kernel has killed for want of memory; 0 where it does not say."""
    try:
        lines = VMSTAT.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
