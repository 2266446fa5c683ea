"""The reader: one read at a time per root and key, a lane for each source, and an answer for whatever happens."""

from __future__ import annotations

from random import Random
from typing import Any

import anyio
import trio
from trio.testing import MockClock

from kaito.actors.models import Models, NoHub
from kaito.actors.reader import HUB_TIMEOUT_S, READ_TIMEOUT_S, Reader
from kaito.api.core import POD
from kaito.api.meta import ObjectRef
from kaito.api.workspace import WORKSPACE
from kaito.plan.actions import Read
from kaito.plan.catalog import Lookup, parse_lookup
from kaito.state.view import Answer
from tests.builders import moment

ROOT = WORKSPACE.ref("default", "phi")


class Kubelet:
    """A client whose logs take a while."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s

    async def read_log(self, ref: ObjectRef, **_: Any) -> str:
        await anyio.sleep(self.takes_s)
        return f"log of {ref.name}"


class SlowHub:
    def __init__(self, takes_s: float) -> None:
        self.takes_s, self.asked = takes_s, 0

    async def look_up(self, model_id: str, token: str = "") -> Lookup:
        self.asked += 1
        await anyio.sleep(self.takes_s)
        return Lookup("missing", model_id)


def log_of(pod: str) -> Read:
    return Read(ROOT, f"log/{pod}", "log", POD.ref("default", pod), "c", "why")


def model(name: str, root: ObjectRef = ROOT) -> Read:
    return Read(root, f"hub/{name}", "hub", root, "", "why", model=name)


def read(*actions: Read, hub: Any, log_s: float = 1, within_s: float = 1_000) -> list[tuple[float, str, Answer]]:
    """What was answered, and when, in virtual seconds."""
    answers: list[tuple[float, str, Answer]] = []

    async def main() -> None:
        began_s = anyio.current_time()
        client: Any = Kubelet(log_s)
        reader = Reader(
            client,
            Models(client, hub, Random(1)),
            lambda _root, key, answer: answers.append((anyio.current_time() - began_s, key, answer)),
            now=moment,
        )
        for action in actions:
            reader.ask(action)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader.run)
            await anyio.sleep(within_s)
            tasks.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return answers


def test_a_hub_that_keeps_us_waiting_delays_no_log() -> None:
    found = read(model("a/b"), log_of("p"), hub=SlowHub(60))
    assert [(at_s, key) for at_s, key, _ in found] == [(1, "log/p"), (60, "hub/a/b")]
    assert found[0][2].text == "log of p"
    assert parse_lookup(found[1][2].text) == Lookup("missing", "a/b")


def test_the_same_read_is_asked_once_while_it_is_under_way_and_every_root_has_its_answer() -> None:
    hub, other = SlowHub(1), WORKSPACE.ref("default", "other")
    found = read(model("a/b"), model("a/b"), model("a/b", other), hub=hub)
    assert (len(found), hub.asked) == (2, 2)


def test_a_thousand_roots_find_room() -> None:
    roots = [WORKSPACE.ref("default", f"ws-{number}") for number in range(1_000)]
    assert len(read(*(model("a/b", root) for root in roots), hub=SlowHub(0))) == 1_000


def test_what_takes_too_long_is_an_error_with_words() -> None:
    found = read(log_of("p"), model("a/b"), hub=SlowHub(10_000), log_s=10_000)
    assert [(at_s, answer.error) for at_s, _, answer in found] == [
        (READ_TIMEOUT_S, "TimeoutError"),
        (HUB_TIMEOUT_S, "TimeoutError"),
    ]


def test_without_a_hub_the_answer_says_so() -> None:
    ((_, _, answer),) = read(model("a/b"), hub=NoHub())
    lookup = parse_lookup(answer.text)
    assert lookup is not None and lookup.outcome == "unreachable" and "nobody here can ask" in lookup.message
