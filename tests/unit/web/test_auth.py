"""Bearer keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kaito.web.auth import RELOAD_S, ApiKeys, KeysUnreadable
from kaito.web.openai.errors import ApiError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def is_let_in(keys: ApiKeys, header: str | None) -> bool:
    try:
        keys.check({} if header is None else {"Authorization": header})
    except ApiError as error:
        assert error.status == 401 and error.code == "invalid_api_key"
        return False
    return True


def test_everyone_may_ask_where_there_are_no_keys():
    assert is_let_in(ApiKeys([], None, Clock()), None)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic one", "Bearer on", "Bearer onee", "one"])
def test_nobody_without_one_of_the_keys(header: str | None):
    assert not is_let_in(ApiKeys(["one", "two"], None, Clock()), header)


def test_each_of_several_keys_lets_in():
    keys = ApiKeys(["one", "two"], None, Clock())
    assert is_let_in(keys, "Bearer one") and is_let_in(keys, "bearer two")


def test_a_changed_file_holds_after_a_second(tmp_path: Path):
    file, clock = tmp_path / "keys", Clock()
    file.write_text("# ours\n\nold\n")
    keys = ApiKeys([], file, clock)
    assert is_let_in(keys, "Bearer old")
    file.write_text("new\nnewer\n")
    os.utime(file, ns=(1, 1))
    clock.now += RELOAD_S
    assert not is_let_in(keys, "Bearer old")
    assert is_let_in(keys, "Bearer new") and is_let_in(keys, "Bearer newer")


def test_keys_hold_while_their_file_is_away_and_an_empty_file_lets_nobody_in(tmp_path: Path):
    file, clock = tmp_path / "keys", Clock()
    file.write_text("old")
    keys = ApiKeys([], file, clock)
    file.unlink()
    clock.now += RELOAD_S
    assert is_let_in(keys, "Bearer old")
    file.write_text("")
    clock.now += RELOAD_S
    assert not is_let_in(keys, "Bearer old") and not is_let_in(keys, "Bearer ")


def test_a_file_that_is_not_there_at_start_is_an_error(tmp_path: Path):
    with pytest.raises(KeysUnreadable, match="keys"):
        ApiKeys([], tmp_path / "keys", Clock())
