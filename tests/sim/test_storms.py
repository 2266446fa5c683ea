"""After any storm of seeded faults all five laws hold; a seed replays byte for byte."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.sim.life import live
from tests.sim.storms import storm

SEEDS = 50


@pytest.mark.parametrize("seed", range(SEEDS))
def test_after_any_storm_the_cluster_converges_safely_and_is_quiet(seed: int) -> None:
    live(storm, seed=seed)


def test_a_seed_replays_byte_for_byte_in_another_process() -> None:
    command = [sys.executable, "-m", "tests.sim.storms", "7"]
    environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in range(2)]
    first, second = (process.communicate(timeout=100)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert first.count(b"\n") > 100 and first == second
