"""What the local cluster remembers, whatever moment it was killed at."""

from __future__ import annotations

import itertools
import resource
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.clock import wall_clock
from kaito.local.apiserver import StatusError
from kaito.local.client import open_core
from kaito.local.persist import BrokenState, Change, Key, NotWritten, State, StateLog

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


@pytest.fixture
def full_disk() -> Iterator[Callable[[int], None]]:
    """Lets files grow to so many bytes only, as a disk that is full does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit if limit >= 0 else soft, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_change_that_the_disk_refuses_has_not_happened_and_the_next_one_has(
    tmp_path: Path, full_disk: Callable[[int], None]
):
    a, b, c = (Key("", "Pod", "default", name) for name in "abc")
    log = StateLog(tmp_path)
    log.append([Change(1, a, {"a": 1})])
    full_disk((tmp_path / "changes.jsonl").stat().st_size + 10)
    with pytest.raises(NotWritten, match=r"changes.jsonl: File too large; free space there"):
        log.append([Change(2, b, {"b": "x" * 1_000})])
    full_disk(-1)
    log.append([Change(3, c, {"c": 1})])
    expected = State(3, {a: {"a": 1}, c: {"c": 1}})
    assert StateLog(tmp_path).load() == expected  # as after kill -9
    log.compact()
    assert StateLog(tmp_path).load() == expected


def test_a_snapshot_that_the_disk_refuses_loses_nothing(tmp_path: Path, full_disk: Callable[[int], None]):
    keys = [Key("", "Pod", "default", str(number)) for number in range(9)]
    first = StateLog(tmp_path)
    first.append([Change(number, key, {"x": "y" * 100}) for number, key in enumerate(keys, start=1)])
    first.compact()
    log = StateLog(tmp_path, changes_bytes_max=100)
    log.load()
    full_disk(400)
    log.append([Change(10, keys[0], {"x": "z" * 100})])
    assert not (tmp_path / "state.json.new").exists()
    full_disk(-1)
    found = StateLog(tmp_path).load()
    assert (found.version, len(found.objects), found.objects[keys[0]]) == (10, 9, {"x": "z" * 100})


def test_the_api_server_answers_a_full_disk_with_the_remedy_and_goes_on(
    tmp_path: Path, full_disk: Callable[[int], None]
):
    log = StateLog(tmp_path)
    uids = itertools.count()
    server = open_core(State(), log.append, now=wall_clock, new_uid=lambda: f"uid-{next(uids)}").server
    maps = server.registry.find("", "v1", "configmaps")
    full_disk((tmp_path / "changes.jsonl").stat().st_size + 10)
    with pytest.raises(StatusError, match="File too large; free space there") as caught:
        server.create(maps, "default", {"metadata": {"name": "a"}})
    assert caught.value.code == 500
    full_disk(-1)
    server.create(maps, "default", {"metadata": {"name": "a"}})
    assert Key("", "ConfigMap", "default", "a") in StateLog(tmp_path).load().objects
