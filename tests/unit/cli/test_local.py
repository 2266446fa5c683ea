"""`kaito local`: the parts of the command that need no cluster."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from kaito.api.workspace import WORKSPACE
from kaito.cli import local
from kaito.cli.signals import run_until_signal
from kaito.clock import wall_clock
from kaito.kube.errors import Invalid
from kaito.local.cluster_settings import ClusterSettings
from kaito.local.persist import State
from kaito.local.presence import live_in
from tests.builders import workspace

WAITS = """
import sys, anyio
from kaito.cli.signals import run_until_signal
async def program():
    try:
        print("up", flush=True)
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.05)
            print("cleaned up", flush=True)
    return 0
print(run_until_signal(program))
"""


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    local.add_arguments(parser)
    return local.run(parser.parse_args(words))


def test_down_where_nothing_runs_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("down", "--dir", str(tmp_path)) == 0
    assert "no local cluster runs" in capsys.readouterr().out


def test_up_beside_a_running_cluster_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    script = (
        "import sys; from pathlib import Path; from kaito.local.presence import live_in\n"
        "with live_in(Path(sys.argv[1])): print('up', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdin is not None
    assert holder.stdout.readline() == "up\n"
    try:
        assert run("up", "--dir", str(tmp_path)) == 1
        assert f"already runs in {tmp_path} (process {holder.pid})" in capsys.readouterr().err
    finally:
        holder.communicate("\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("up", "--port", "many"), "--port 'many'"),
        (("robots", "--kubeconfig", "/no/such/file"), "no such file"),
    ],
)
def test_bad_flags_exit_2_and_name_the_flag(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]):
    assert run(*words) == 2
    assert message in capsys.readouterr().err


def test_robots_that_there_are_not_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "config").touch()
    assert run("robots", "--kubeconfig", str(tmp_path / "config"), "--only", "provisioner,butler") == 2
    assert "unknown robots butler" in capsys.readouterr().err


def test_faults_are_listed_without_a_cluster(capsys: pytest.CaptureFixture[str]):
    assert run("up", "--faults") == 0
    assert "quota-exceeded" in capsys.readouterr().out


def test_paths_are_shown_as_one_would_type_them():
    assert local.shown(Path("/a/b/.kaito/kubeconfig"), Path("/a/b")) == ".kaito/kubeconfig"
    assert local.shown(Path("/tmp/kubeconfig"), Path("/a/b")) == "/tmp/kubeconfig"


def test_a_signal_ends_a_program_in_good_order():
    process = subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.terminate()
    rest, _ = process.communicate(timeout=20)
    assert rest == "cleaned up\n(0, True)\n" and process.returncode == 0


def test_a_program_that_ends_by_itself_was_not_told():
    async def program() -> int:
        return 3

    assert run_until_signal(program) == (3, False)


def test_the_directory_is_free_again_after_a_failed_start(tmp_path: Path):
    with pytest.raises(RuntimeError), live_in(tmp_path):
        raise RuntimeError
    with live_in(tmp_path):
        pass


async def test_the_rules_are_those_of_the_way_in_which_machines_come(tmp_path: Path) -> None:
    settings = ClusterSettings(tmp_path, tmp_path / "kubeconfig")
    body = workspace(instance_type=None, finalizer=False) | {"metadata": {"name": "phi", "namespace": "default"}}
    own, asked_for = (
        local.parts(way).open_core(settings, State(), lambda _: None, wall_clock) for way in ("byo", "karpenter")
    )
    await own.create(WORKSPACE, "default", body)
    with pytest.raises(Invalid, match="instance-type-required"):
        await asked_for.create(WORKSPACE, "default", body)
