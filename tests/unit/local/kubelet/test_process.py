"""Processes end with their group, and with the kubelet."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from kaito.local.kubelet.addresses import reserve
from kaito.local.kubelet.images import Images, with_interpreter
from kaito.local.kubelet.kubelet import clear_leftovers
from kaito.local.kubelet.process import start
from tests.unit.local.kubelet.test_kubelet import is_alive

KUBELET = """
import anyio, os, sys
from pathlib import Path
from kaito.local.kubelet.process import start
async def main():
    process = await start([sys.executable, "-S", "-c", "import time; time.sleep(1000)"], env=os.environ, cwd=Path("."))
    print(process.pid, flush=True)
    await anyio.sleep(1000)
anyio.run(main)
"""


def wait_for(is_met: Callable[[], bool]) -> None:
    """Other processes' deeds have no event here."""
    deadline = time.monotonic() + 10
    while not is_met():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def has_variable(pid: int, text: str) -> bool:
    return text.encode() in Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux")
def test_containers_die_with_a_kubelet_that_is_killed():
    kubelet = subprocess.Popen([sys.executable, "-c", KUBELET], stdout=subprocess.PIPE, text=True)
    assert kubelet.stdout is not None
    pid = int(kubelet.stdout.readline())
    kubelet.kill()
    kubelet.wait()
    kubelet.stdout.close()
    wait_for(lambda: not is_alive(pid))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_leftovers_of_a_killed_kubelet_are_cleared_and_nothing_else(tmp_path: Path):
    processes = []
    for uid, says in (("u1", "u1"), ("u2", "another")):
        env = dict(os.environ) | {"KAITO_POD_UID": says}
        process = await start([sys.executable, "-S", "-c", "import time; time.sleep(1000)"], env=env, cwd=tmp_path)
        processes.append(process)
        folder = tmp_path / f"default_p_{uid}" / "containers" / "main"
        folder.mkdir(parents=True)
        (folder / "pid").write_text(str(process.pid))
        await anyio.to_thread.run_sync(wait_for, partial(has_variable, process.pid, f"KAITO_POD_UID={says}"))
    clear_leftovers(tmp_path)
    assert await processes[0].wait() == 137
    assert is_alive(processes[1].pid)
    for process in processes:
        await process.aclose()


async def test_an_exit_by_signal_counts_as_containers_count(tmp_path: Path):
    process = await start(["/bin/sh", "-c", "kill -TERM $$"], env=os.environ, cwd=tmp_path)
    assert await process.wait() == 143
    await process.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="127/8 is loopback as a whole on Linux")
def test_two_pods_never_share_an_address():
    first, second = reserve([5000]), reserve([5000])
    assert first.ip != second.ip
    taken = reserve([5000], preferred=first.ip)
    assert taken.ip not in (first.ip, second.ip)
    for address in (first, taken):
        address.release()
    again = reserve([5000], preferred=first.ip)
    assert again.ip == first.ip
    for address in (again, second):
        address.release()


def test_without_addresses_of_their_own_pods_have_ports():
    address = reserve([5000, 5557], has_own=False)
    assert address.ip == "127.0.0.1"
    assert address.local(5000)[1] != 5000 and address.local(5000) != address.local(5557)
    assert address.local(8080) == ("127.0.0.1", 8080)


def test_an_image_brings_a_command_where_the_container_names_none():
    images = Images({"kaito-inference:*": ("python", "-m", "kaito.inference"), "python:*": ()})
    assert with_interpreter(images.command({"image": "kaito-inference:1", "args": ["--x"]})) == [
        sys.executable,
        "-m",
        "kaito.inference",
        "--x",
    ]
    assert images.command({"image": "kaito-inference:1", "command": ["/bin/sh"]}) == ["/bin/sh"]
    assert images.refusal("python:3.12") == "" and "nginx" in images.refusal("nginx")
