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
