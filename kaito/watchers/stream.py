"""Stream: drives one WatchMachine against one kind. The only I/O of the watchers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from random import Random

import anyio

from kaito.backoff import Backoff
from kaito.kube.client import ALL, KubeClient, Scope
from kaito.kube.errors import ApiError, Gone, NotFound, Unreachable
from kaito.state.events import InitDone, WatchEvent
from kaito.state.kinds import KindRow
from kaito.watchers.frames import LineFramer, LineTooLong
from kaito.watchers.machine import Broken, ListRequest, WatchMachine, WatchRequest

WATCH_TIMEOUT_S = (240, 300)  # the server closes then; jittered, so that the streams do not end together
CLIENT_MARGIN_S = 15  # how much later than the server we give a watch up
BOOKMARK_DEADLINE_S = 70  # servers send one a minute; 1.20 sends none for minutes, so only once one has come
RETRY_S = (0.5, 30.0)
PAGE_LIMIT = 500


class Stream:
    """One kind, or one object of it, from list to watch and back, for ever.

    `on_event` is called synchronously with each event, `on_trouble` with each failure before its back-off.
    """

    def __init__(
        self,
        client: KubeClient,
        row: KindRow,
        on_event: Callable[[WatchEvent], None],
        *,
        rng: Random,
        scope: Scope = ALL,
        on_trouble: Callable[[KindRow, Exception], None] = lambda _row, _error: None,
    ) -> None:
        self.row = row
        self.machine = WatchMachine(row)
        self.last_heard_s: float | None = None  # monotonic; None: nothing yet
        self.list_began_s = 0.0
        self._client, self._on_event, self._on_trouble = client, on_event, on_trouble
        self._rng, self._scope = rng, scope
        self._backoff = Backoff(*RETRY_S, rng)

    async def run(self) -> None:
        """Ends only by cancellation, and with NotFound when the kind is not served."""
        while True:
            try:
                match self.machine.next_request():
                    case ListRequest(continue_):
                        await self._list(continue_)
                    case WatchRequest(version):
                        await self._watch(version)
            except Gone:
                self.machine.gone()
            except NotFound:
                self.machine.gone()
                raise
            except (ApiError, Broken, LineTooLong) as error:
                self._on_trouble(self.row, error)
                retry_after_s = getattr(error, "retry_after_s", None) or 0.0
                await anyio.sleep(max(self._backoff.next_s(), retry_after_s))

    async def _list(self, continue_: str) -> None:
        if not continue_:
            self.list_began_s = anyio.current_time()
        body = await self._client.list_page(self.row.kind, self._scope, limit=PAGE_LIMIT, continue_=continue_)
        self.last_heard_s = anyio.current_time()
        for event in self.machine.receive_page(body):
            if isinstance(event, InitDone):
                self._backoff.reset()
            self._on_event(event)

    async def _watch(self, version: str) -> None:
        timeout_s = self._rng.randint(*WATCH_TIMEOUT_S)
        framer = LineFramer()
        try:
            async with self._client.open_watch(
                self.row.kind, self._scope, resource_version=version, timeout_s=timeout_s
            ) as chunks:
                give_up_s = anyio.current_time() + timeout_s + CLIENT_MARGIN_S
                while (chunk := await self._next(chunks, give_up_s)) is not None:
                    self.last_heard_s = anyio.current_time()
                    self._backoff.reset()
                    for line in framer.feed(chunk):
                        event = self.machine.receive_line(line)
                        if event is not None:
                            self._on_event(event)
                        if self.machine.state == "Empty":
                            return
        finally:
            self.machine.closed()

    async def _next(self, chunks: AsyncIterator[bytes], give_up_s: float) -> bytes | None:
        """The next chunk; None when the server ended the watch. Raises Unreachable after too long a silence."""
        deadline_s = give_up_s
        if self.machine.has_bookmarks:
            deadline_s = min(deadline_s, anyio.current_time() + BOOKMARK_DEADLINE_S)
        with anyio.CancelScope(deadline=deadline_s):
            return await anext(chunks, None)
        raise Unreachable(f"the watch of {self.row.kind.plural} went silent")
