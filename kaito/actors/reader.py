"""Reader: executes Read actions; the answer enters the graph as an event, with its time."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from kaito.api.meta import ObjectRef
from kaito.clock import Clock
from kaito.kube.client import KubeClient
from kaito.kube.errors import ApiError
from kaito.plan.actions import Read
from kaito.state.view import Answer

READ_TIMEOUT_S = 10.0
QUEUE_MAX = 256  # a read that finds no room is dropped: its root asks again when it is planned again


class Reader:
    """Bounded; one read at a time per (root, key)."""

    def __init__(
        self,
        client: KubeClient,
        answered: Callable[[ObjectRef, str, Answer], None],
        *,
        now: Clock,
    ) -> None:
        self._client, self._answered, self._now = client, answered, now
        self._send, self._receive = anyio.create_memory_object_stream[Read](QUEUE_MAX)
        self._asked: set[tuple[ObjectRef, str]] = set()

    def ask(self, action: Read) -> None:
        """Queues the read unless the same one is under way."""
        key = (action.root, action.key)
        if key in self._asked:
            return
        try:
            self._send.send_nowait(action)
        except anyio.WouldBlock:
            return
        self._asked.add(key)

    async def run(self) -> None:
        """Reads for ever."""
        async for action in self._receive:
            answer = await self._read(action)
            self._asked.discard((action.root, action.key))
            self._answered(action.root, action.key, answer)

    async def _read(self, action: Read) -> Answer:
        try:
            with anyio.fail_after(READ_TIMEOUT_S):
                text = await self._client.read_log(
                    action.target, container=action.container, tail_lines=action.tail_lines, previous=action.is_previous
                )
        except (ApiError, TimeoutError) as error:
            return Answer("", self._now(), error=str(error) or type(error).__name__)
        return Answer(text, self._now())
