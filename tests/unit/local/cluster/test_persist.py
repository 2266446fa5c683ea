"""What the local cluster remembers, whatever moment it was killed at."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.local.persist import BrokenState, Change, Key, State, StateLog

keys = st.builds(Key, st.just("g"), st.sampled_from("AB"), st.just("ns"), st.sampled_from("xyz"))
bodies = st.one_of(st.none(), st.fixed_dictionaries({"spec": st.integers()}))


@given(st.lists(st.tuples(keys, bodies), max_size=30), st.integers(50, 400), st.data())
def test_a_killed_cluster_remembers_a_prefix_and_all_that_was_flushed_before(
    items: list[tuple[Key, dict[str, int] | None]], bytes_max: int, data: st.DataObject
):
    changes = [Change(version, key, body) for version, (key, body) in enumerate(items, start=1)]
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        log = StateLog(directory, changes_bytes_max=bytes_max)
        log.load()
        for change in changes:
            log.append([change])
        log.close()
        file = directory / "changes.jsonl"
        if file.exists():
            size = file.stat().st_size
            cut = data.draw(st.integers(0, size), label="bytes lost at the end")
            with file.open("r+b") as handle:
                handle.truncate(size - cut)
        state = StateLog(directory).load()
    expected = State()
    for change in changes[: state.version]:
        expected.take(change)
    assert state == expected


def test_a_cut_line_does_not_swallow_the_next_change(tmp_path: Path):
    key = Key("", "Pod", "default", "a")
    log = StateLog(tmp_path)
    log.append([Change(1, key, {"a": 1}), Change(2, key, {"a": 2})])
    log.close()
    file = tmp_path / "changes.jsonl"
    file.write_bytes(file.read_bytes()[:-5])
    again = StateLog(tmp_path)
    assert again.load().version == 1
    again.append([Change(3, key, {"a": 3})])
    again.close()
    assert StateLog(tmp_path).load() == State(3, {key: {"a": 3}})


def test_changes_that_the_snapshot_has_are_not_applied_again(tmp_path: Path):
    first, second = Key("", "Pod", "default", "a"), Key("", "Pod", "default", "b")
    log = StateLog(tmp_path)
    log.append([Change(1, first, {}), Change(2, second, {})])
    log.close()
    kept = (tmp_path / "changes.jsonl").read_bytes()
    log.append([Change(3, first, None)])
    log.compact()
    (tmp_path / "changes.jsonl").write_bytes(kept)  # the crash came before they were removed
    assert StateLog(tmp_path).load() == State(3, {second: {}})


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 2, "version": 1, "objects": []}'])
def test_a_broken_snapshot_is_named_and_not_overwritten(tmp_path: Path, content: bytes):
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(BrokenState, match=r"state\.json"):
        StateLog(tmp_path).load()
    assert (tmp_path / "state.json").read_bytes() == content


def test_files_are_for_their_owner_alone(tmp_path: Path):
    log = StateLog(tmp_path)
    log.append([Change(1, Key("", "Secret", "default", "a"), {"data": {"x": "y"}})])
    assert (tmp_path / "changes.jsonl").stat().st_mode & 0o077 == 0
    log.compact()
    assert (tmp_path / "state.json").stat().st_mode & 0o077 == 0
