"""The desk: many questions, few requests; what was answered holds for a while, and a silent hub is not pressed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

import anyio
import trio
from trio.testing import MockClock

from kaito.hub import desk as module
from kaito.hub.desk import DEADLINE_S, FOUND_S, REFUSED_S, REQUESTS_MAX, RETRY_MAX_S, STALE_S, Desk
from kaito.hub.errors import HubError, HubUnreachable, ModelGated, ModelMissing, ModelUnsupported
from kaito.hub.model import HubModel
from kaito.plan.catalog import Preset, presets

PRESET = next(iter(presets().values()))


class Source:
    """A hub in a few lines: what it says of every model, how long it takes, and who asked when."""

    def __init__(self, says: Preset | HubError = PRESET, takes_s: float = 1.0) -> None:
        self.says, self.takes_s = says, takes_s
        self.asked: list[tuple[float, str, str]] = []
        self.running = self.running_max = 0

    async def find(self, model_id: str, token: str = "") -> HubModel:
        self.asked.append((anyio.current_time(), model_id, token))
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        try:
            await anyio.sleep(self.takes_s)
        finally:
            self.running -= 1
        if isinstance(self.says, HubError):
            raise self.says
        return HubModel(replace(self.says, model_id=model_id))


def at_the_desk(scenario: Callable[[Desk, Source], Awaitable[None]], says: Preset | HubError = PRESET) -> Source:
    source = Source(says)

    async def main() -> None:
        await scenario(Desk(source, Random(1)), source)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return source


async def everybody(desk: Desk, names: list[str]) -> Counter[str]:
    outcomes: Counter[str] = Counter()

    async def one(name: str) -> None:
        outcomes[(await desk.look_up(name)).outcome] += 1

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(one, name)
    return outcomes


def test_a_thousand_questions_at_once_are_one_request_and_it_is_repeated_within_the_hour() -> None:
    async def scenario(desk: Desk, source: Source) -> None:
        assert await everybody(desk, ["a/b"] * 1_000) == {"found": 1_000}
        assert len(source.asked) == 1
        held = await desk.look_up("a/b")
        assert held.model is not None and 0 < held.again_s <= FOUND_S
        await anyio.sleep(held.again_s)
        await desk.look_up("a/b")
        assert len(source.asked) == 2

    at_the_desk(scenario)


def test_many_models_are_asked_about_a_few_at_a_time() -> None:
    async def scenario(desk: Desk, source: Source) -> None:
        await everybody(desk, [f"a/{number}" for number in range(40)])

    assert at_the_desk(scenario).running_max == REQUESTS_MAX


def test_what_is_refused_is_asked_again_after_minutes_and_a_licence_accepted_meanwhile_counts() -> None:
    for error in (ModelGated("gated"), ModelMissing("missing"), ModelUnsupported("unsupported")):

        async def scenario(desk: Desk, source: Source, error: HubError = error) -> None:
            refused = await desk.look_up("a/b")
            assert (refused.outcome, refused.message) == (str(error.message), error.message)
            assert REFUSED_S / 2 <= refused.again_s <= REFUSED_S
            source.says = PRESET
            assert (await desk.look_up("a/b")).outcome == error.message
            await anyio.sleep(REFUSED_S)
            assert (await desk.look_up("a/b")).outcome == "found"

        at_the_desk(scenario, error)


def test_a_silent_hub_is_asked_less_and_less_with_jitter_and_at_once_again_when_it_is_back() -> None:
    async def scenario(desk: Desk, source: Source) -> None:
        waits = []
        for _ in range(12):
            waits.append((await desk.look_up("a/b")).again_s)
            await anyio.sleep(waits[-1])
        assert all(wait <= RETRY_MAX_S for wait in waits) and waits[0] <= 5 and waits[-1] >= RETRY_MAX_S / 2
        assert len({round(wait, 3) for wait in waits}) == len(waits)
        source.says = PRESET
        assert (await desk.look_up("a/b")).outcome == "found"
        source.says = HubUnreachable("down")
        await anyio.sleep(STALE_S + FOUND_S)
        assert (await desk.look_up("a/b")).again_s <= 5, "the backoff begins anew"

    at_the_desk(scenario, HubUnreachable("down"))


def test_while_the_hub_is_silent_what_it_said_in_the_last_day_is_said_again() -> None:
    async def scenario(desk: Desk, source: Source) -> None:
        found = await desk.look_up("a/b")
        source.says = HubUnreachable("down")
        await anyio.sleep(FOUND_S)
        again = await desk.look_up("a/b")
        assert (again.model, len(source.asked)) == (found.model, 2) and again.again_s <= 5
        await anyio.sleep(STALE_S)
        assert (await desk.look_up("a/b")).outcome == "unreachable"

    at_the_desk(scenario)


def test_retry_after_keeps_every_model_waiting() -> None:
    async def scenario(desk: Desk, source: Source) -> None:
        assert (await desk.look_up("a/b")).again_s == 60
        other = await desk.look_up("c/d")
        assert (other.outcome, len(source.asked)) == ("unreachable", 1) and other.again_s >= 59
        source.says = PRESET
        await anyio.sleep(other.again_s)
        assert (await desk.look_up("c/d")).outcome == "found"

    at_the_desk(scenario, HubUnreachable("429", retry_after_s=60))


def test_a_question_has_a_deadline_and_a_cancelled_one_hands_over_to_who_waits() -> None:
    async def scenario(desk: Desk, source: Source) -> None:
        source.takes_s = 10_000
        began_s = anyio.current_time()
        assert (await desk.look_up("a/b")).outcome == "unreachable"
        assert anyio.current_time() - began_s == DEADLINE_S
        source.takes_s = 5
        outcomes: list[str] = []

        async def patient() -> None:
            await anyio.sleep(1)
            outcomes.append((await desk.look_up("c/d")).outcome)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(patient)
            with anyio.move_on_after(2):
                await desk.look_up("c/d")
        assert outcomes == ["found"] and [name for _, name, _ in source.asked].count("c/d") == 2

    at_the_desk(scenario)


def test_what_one_token_opens_another_does_not_see() -> None:
    async def scenario(desk: Desk, source: Source) -> None:
        assert (await desk.look_up("a/b", "mine")).outcome == "found"
        source.says = ModelMissing("missing")
        assert (await desk.look_up("a/b", "yours")).outcome == "missing"
        assert (await desk.look_up("a/b")).outcome == "missing"
        assert (await desk.look_up("a/b", "mine")).outcome == "found"
        assert "mine" not in repr(desk._kept), "tokens are not kept"

    at_the_desk(scenario)


def test_what_is_kept_is_bounded_in_entries_and_in_bytes() -> None:
    async def scenario(desk: Desk, source: Source) -> None:
        source.takes_s = 0
        for number in range(module.ENTRIES_MAX + 50):
            await desk.look_up(f"a/{number}")
        assert len(desk._kept) == module.ENTRIES_MAX
        assert desk._bytes == sum(each.size for each in desk._kept.values()) <= module.BYTES_MAX
        source.says = ModelMissing("x" * (module.BYTES_MAX // 4))
        for number in range(8):
            await desk.look_up(f"b/{number}")
        assert len(desk._kept) < 8
        assert desk._bytes == sum(each.size for each in desk._kept.values()) <= module.BYTES_MAX

    at_the_desk(scenario)
