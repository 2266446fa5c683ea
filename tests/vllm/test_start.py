"""A start that is broken off."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil

from tests.vllm.conftest import FLAGS, START_TIMEOUT_S, start, stop


def test_a_start_that_is_told_to_stop_ends_and_leaves_no_process(checkpoint: Path) -> None:
    log = checkpoint.parent / "broken-off.log"
    command = ["-m", "kaito.inference", "--engine=vllm", f"--model={checkpoint}", "--host=127.0.0.1", "--port=0"]
    process = start([*command, *FLAGS], log)
    try:
        while "Initializing a V1 LLM engine" not in log.read_text():  # the marker's time limit is the bound
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        engines = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(START_TIMEOUT_S) == 0, log.read_text()
        _, left = psutil.wait_procs(engines, timeout=10)
        assert left == []
        assert "Traceback" not in log.read_text()
    finally:
        stop(process)
