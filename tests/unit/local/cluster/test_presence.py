"""At most one cluster per directory, and no stale file that says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaito.local.presence import AlreadyRunning, is_live, live_in, stop

HOLD = """
import signal, sys
from pathlib import Path
from kaito.local.presence import live_in
def leave(*_): raise SystemExit(0)
signal.signal(signal.SIGTERM, leave)
with live_in(Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
"""


def holder(directory: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(directory)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.stdout.close()
    return process


def test_a_second_cluster_is_refused_with_the_way_out(tmp_path: Path):
    process = holder(tmp_path)
    try:
        with pytest.raises(AlreadyRunning, match="kaito local down --dir") as caught, live_in(tmp_path):
            pass
        assert caught.value.pid == process.pid
    finally:
        process.kill()
        process.wait()


def test_stop_waits_until_it_is_gone_and_leaves_nothing(tmp_path: Path):
    process = holder(tmp_path)
    assert stop(tmp_path, timeout_s=20) is True
    assert process.wait(10) == 0
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_a_killed_cluster_do_not_count(tmp_path: Path):
    process = holder(tmp_path)
    process.kill()
    process.wait()
    assert (tmp_path / "pid").exists() and not is_live(tmp_path)
    with live_in(tmp_path):
        assert (tmp_path / "pid").read_text() == f"{os.getpid()}\n"
    assert stop(tmp_path, timeout_s=1) is False


def test_stopping_where_nothing_runs_says_so(tmp_path: Path):
    assert stop(tmp_path / "absent", timeout_s=1) is False


def test_a_folder_that_cannot_be_made_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder, why in ((tmp_path / "file", "it is a file"), (tmp_path / "file" / "in", "Not a directory")):
        with pytest.raises(OSError, match=rf"^cannot keep its files in {folder}: {why}; .* --dir$"), live_in(folder):
            pass
