"""Reader: executes Read actions; the answer enters the graph as an event, with its time.

Each source has a lane of its own, so that a hub which keeps us waiting delays no log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

import anyio
import msgspec

from kaito.actors.models import Models
from kaito.api.core import EVENT
from kaito.api.meta import Json, ObjectRef
from kaito.clock import Clock
from kaito.kube.client import KubeClient, Scope
from kaito.kube.errors import ApiError
from kaito.plan.actions import Read
from kaito.plan.catalog import lookup_text
from kaito.state.view import Answer

READ_TIMEOUT_S = 10.0
HUB_TIMEOUT_S = 120.0  # others' questions may be ahead of ours
# Of each lane; a read that finds no room is dropped, and its root asks again when it is planned again. The hub's is
# long, because many Workspaces of one model have one answer.
LOG_QUEUE_MAX, HUB_QUEUE_MAX, EVENTS_QUEUE_MAX = 256, 4_096, 256
EVENTS_MAX = 50  # of one object
HUB_READERS = 8  # mostly they wait for one another's answers


class Reader:
    """Bounded; one read at a time per (root, key)."""

    def __init__(
        self, client: KubeClient, models: Models, answered: Callable[[ObjectRef, str, Answer], None], *, now: Clock
    ) -> None:
        self._client, self._models, self._answered, self._now = client, models, answered, now
        self._lanes: dict[Literal["log", "hub", "events"], _Lane] = {
            "log": _Lane(self._log, READ_TIMEOUT_S, readers=1, queue_max=LOG_QUEUE_MAX),
            "hub": _Lane(self._hub, HUB_TIMEOUT_S, readers=HUB_READERS, queue_max=HUB_QUEUE_MAX),
            "events": _Lane(self._events, READ_TIMEOUT_S, readers=1, queue_max=EVENTS_QUEUE_MAX),
        }
        self._asked: set[tuple[ObjectRef, str]] = set()

    def ask(self, action: Read) -> None:
        """Queues the read unless the same one is under way."""
        key = (action.root, action.key)
        if key in self._asked:
            return
        try:
            self._lanes[action.source].send.send_nowait(action)
        except anyio.WouldBlock:
            return
        self._asked.add(key)

    async def run(self) -> None:
        """Reads for ever."""
        async with anyio.create_task_group() as tasks:
            for lane in self._lanes.values():
                for _ in range(lane.readers):
                    tasks.start_soon(self._run, lane)

    async def _run(self, lane: _Lane) -> None:
        while True:
            action = await lane.receive.receive()
            try:
                with anyio.fail_after(lane.timeout_s):
                    answer = Answer(await lane.read(action), self._now())
            except (ApiError, TimeoutError) as error:
                answer = Answer("", self._now(), error=str(error) or type(error).__name__)
            self._asked.discard((action.root, action.key))
            self._answered(action.root, action.key, answer)

    async def _log(self, action: Read) -> str:
        return await self._client.read_log(
            action.target, container=action.container, tail_lines=action.tail_lines, previous=action.is_previous
        )

    async def _events(self, action: Read) -> str:
        page = await self._client.list_page(
            EVENT, Scope(field_selector=f"involvedObject.uid={action.uid}"), limit=EVENTS_MAX
        )
        return last_warning(msgspec.json.decode(page)["items"], action.target)

    async def _hub(self, action: Read) -> str:
        secret = action.target if action.target != action.root else None
        return lookup_text(await self._models.look_up(action.model, secret))


def last_warning(events: Sequence[Json], about: ObjectRef) -> str:
    """Reason, line break and message of the latest Warning; empty where there is none."""
    warnings = [event for event in events if event.get("type") == "Warning" and event.get("reason")]
    if not warnings:
        return ""
    last = max(warnings, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    # Karpenter puts the object's name before its words.
    words = str(last.get("message") or "").removeprefix(f"{about.kind} {about.name} event: ")
    return f"{last['reason']}\n{words}"


class _Lane:
    """A queue and those who serve it."""

    def __init__(
        self, read: Callable[[Read], Awaitable[str]], timeout_s: float, *, readers: int, queue_max: int
    ) -> None:
        self.read, self.timeout_s, self.readers = read, timeout_s, readers
        self.send, self.receive = anyio.create_memory_object_stream[Read](queue_max)
