"""A program's own error reaches the command that runs it, through however many task groups."""

from __future__ import annotations

import os
import signal

import anyio
import pytest

from kaito.cli.signals import run_until_signal


def test_an_error_comes_out_as_it_is() -> None:
    async def program() -> int:
        async with anyio.create_task_group():
            raise ValueError("--port: no")

    with pytest.raises(ValueError, match="--port: no"):
        run_until_signal(program)


def test_a_signal_ends_the_program_in_good_order() -> None:
    ended: list[bool] = []

    async def program() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await anyio.sleep_forever()
        finally:
            ended.append(True)
        return 1

    assert run_until_signal(program) == (0, True)
    assert ended == [True]


def test_a_program_that_ends_by_itself_is_told_first_and_cancelled_by_the_second_signal() -> None:
    told: list[str] = []

    async def polite() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        while not told:  # noqa: ASYNC110
            await anyio.sleep(0.01)
        return 7

    assert run_until_signal(polite, told=lambda: told.append("once")) == (7, True)
    assert told == ["once"]

    async def deaf() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        while len(told) < 2:  # noqa: ASYNC110
            await anyio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        await anyio.sleep_forever()
        return 1

    assert run_until_signal(deaf, told=lambda: told.append("twice")) == (0, True)
    assert told == ["once", "twice"]
