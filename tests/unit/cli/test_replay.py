"""The operator process writes its journal when asked, and `kaito replay` decides as it did."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from benchmarks.api_stub import ApiStub
from benchmarks.kubeconfig import kubeconfig
from kaito.cli import run
from kaito.cli.journal_file import FILE_NAME
from kaito.state.kinds import KINDS
from tests.builders import metadata, workspace


async def written_journal(folder: Path) -> Path:
    """The journal of an operator that has made the NodeClaim of one Workspace."""
    claimed = asyncio.Event()
    stub = ApiStub([row.kind for row in KINDS], lambda _m, plural, _n, _t: plural == "nodeclaims" and claimed.set())
    stub.put("workspaces", workspace("phi") | {"metadata": metadata("phi", "default", finalizers=None)})
    async with stub.serving() as address:
        path = folder / "kubeconfig"
        path.write_text(kubeconfig(address))
        command = ["-m", "kaito", "operator", "--kubeconfig", str(path), "--no-leader-elect"]
        command += ["--metrics-bind-address", "127.0.0.1:0", "--journal-dir", str(folder), "--log-format", "json"]
        process = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.PIPE)
        try:
            assert process.stderr is not None
            await asyncio.wait_for(claimed.wait(), 60)
            process.send_signal(signal.SIGUSR1)
            while b"journal written" not in await asyncio.wait_for(process.stderr.readline(), 30):
                pass
        finally:
            process.terminate()
            await process.communicate()
    return folder / FILE_NAME


async def test_a_journal_replays_to_the_same_decisions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = await written_journal(tmp_path)
    assert journal.stat().st_mode & 0o777 == 0o600
    assert run(["replay", str(journal)]) == 0
    first = capsys.readouterr().out
    assert "PatchRoot workspace/default/phi" in first and "Create nodeclaim/" in first
    assert ", 0 of them other than at the time" in first
    assert run(["replay", str(journal)]) == 0
    assert capsys.readouterr().out == first

    lines = journal.read_bytes().splitlines(keepends=True)
    planned = next(i for i, line in enumerate(lines) if b'"planned"' in line and b'"Create"' in line)
    changed = json.loads(lines[planned])
    changed["actions"] = []
    (tmp_path / "changed").write_bytes(b"".join([*lines[:planned], json.dumps(changed).encode(), b"\n"]))
    assert run(["replay", str(tmp_path / "changed"), "--output", "json"]) == 2
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["recorded"] == [] and {action["action"] for action in last["actions"]} >= {"Create"}


def test_what_is_no_journal_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("hello\n")
    assert run(["replay", str(tmp_path / "file")]) == 1
    assert run(["replay", str(tmp_path / "nowhere")]) == 1
    assert "line 1 is not JSON" in capsys.readouterr().err
