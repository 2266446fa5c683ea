"""Desk: many questions about models, few requests to the hub. What it answered is kept for a while.

A thousand Workspaces of one model ask the hub once. An answer holds for `again_s`: what was found for an hour, what was
refused for some minutes (a licence may be accepted meanwhile), no answer for a time that doubles from 5 s to 5 minutes;
all with jitter, so that nobody asks in step. While the hub says Retry-After, no model is asked about. Where it does not
answer, what it said in the last day is said again.

What one token opens, another one does not see: answers are kept by model and token.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import anyio

from kaito.backoff import Backoff, Chance
from kaito.hub.errors import HubError, HubUnreachable, ModelGated, ModelMissing
from kaito.hub.model import HubModel
from kaito.plan.catalog import Lookup, lookup_text

FOUND_S = 3_600.0
REFUSED_S = 300.0
RETRY_FIRST_S, RETRY_MAX_S = 5.0, 300.0
STALE_S = 86_400.0  # how long an answer stands in for a hub that is silent
ENTRIES_MAX = 512
BYTES_MAX = 1 << 20  # of what is kept, as text
REQUESTS_MAX = 4
DEADLINE_S = 25.0  # of one question: both requests, and redirects

Key: TypeAlias = tuple[str, str]


class Source(Protocol):
    """Who is asked in the end: a HubClient."""

    async def find(self, model_id: str, token: str = "") -> HubModel:
        """Raises HubError."""
        ...


@dataclass(slots=True)
class _Kept:
    """`found` and `found_s`: the last time that it was found. Times are anyio's, in seconds. `size`: what it counts."""

    lookup: Lookup
    until_s: float
    backoff: Backoff
    found: Lookup | None = None
    found_s: float = 0.0
    size: int = 0


class Desk:
    """Asks `source` on behalf of everybody."""

    def __init__(self, source: Source, rng: Chance) -> None:
        self._source, self._rng = source, rng
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._bytes = 0
        self._asking: dict[Key, anyio.Event] = {}
        self._requests = anyio.Semaphore(REQUESTS_MAX)
        self._closed_until_s = 0.0

    async def look_up(self, model_id: str, token: str = "") -> Lookup:
        """What is known of the model, and how long that holds. Never raises for what a hub may do."""
        key = model_id, hashlib.sha256(token.encode()).hexdigest() if token else ""
        while True:
            kept, now_s = self._kept.get(key), anyio.current_time()
            if kept is not None and now_s < kept.until_s:
                self._kept.move_to_end(key)
                return replace(kept.lookup, again_s=kept.until_s - now_s)
            if key not in self._asking:
                break
            await self._asking[key].wait()
        done = self._asking[key] = anyio.Event()
        try:
            return await self._ask(key, kept, token)
        finally:
            del self._asking[key]
            done.set()

    async def _ask(self, key: Key, kept: _Kept | None, token: str) -> Lookup:
        kept = kept or _Kept(Lookup("unreachable"), 0.0, Backoff(RETRY_FIRST_S, RETRY_MAX_S, self._rng))
        try:
            async with self._requests:
                if (wait_s := self._closed_until_s - anyio.current_time()) > 0:
                    raise HubUnreachable("the hub asks to be left alone for a while", retry_after_s=wait_s)
                with anyio.fail_after(DEADLINE_S):
                    found = await self._source.find(key[0], token)
            lookup = Lookup("found", model=found.preset, is_gated=found.is_gated)
        except (HubError, TimeoutError) as error:
            lookup = self._refused(key[0], error, kept)
        return self._keep(key, kept, lookup)

    def _refused(self, model_id: str, error: HubError | TimeoutError, kept: _Kept) -> Lookup:
        now_s = anyio.current_time()
        match error:
            case ModelGated():
                return Lookup("gated", error.message)
            case ModelMissing():
                return Lookup("missing", error.message)
            case HubUnreachable() | TimeoutError():
                words = error.message if isinstance(error, HubUnreachable) else f"no answer about {model_id} in time"
                wait_s = kept.backoff.next_s()
                if isinstance(error, HubUnreachable) and error.retry_after_s:
                    wait_s = max(wait_s, error.retry_after_s)
                    self._closed_until_s = max(self._closed_until_s, now_s + error.retry_after_s)
                return Lookup("unreachable", words, again_s=wait_s)
            case _:
                return Lookup("unsupported", error.message)

    def _keep(self, key: Key, kept: _Kept, lookup: Lookup) -> Lookup:
        now_s = anyio.current_time()
        if lookup.outcome == "unreachable":
            again_s = lookup.again_s
            if kept.found is not None and now_s - kept.found_s < STALE_S:
                lookup = replace(kept.found, again_s=again_s)
        else:
            kept.backoff.reset()
            again_s = self._rng.uniform(0.5, 1.0) * (FOUND_S if lookup.model else REFUSED_S)
            lookup = replace(lookup, again_s=again_s)
            kept.found, kept.found_s = (lookup, now_s) if lookup.model else (None, 0.0)
        kept.lookup, kept.until_s = lookup, now_s + again_s
        self._put(key, kept)
        return lookup

    def _put(self, key: Key, kept: _Kept) -> None:
        """The newest entry; the oldest go where there are too many, or too long ones."""
        if (former := self._kept.pop(key, None)) is not None:
            self._bytes -= former.size
        kept.size = sum(len(lookup_text(each)) for each in (kept.lookup, kept.found) if each)
        self._kept[key] = kept
        self._bytes += kept.size
        while len(self._kept) > ENTRIES_MAX or self._bytes > BYTES_MAX:
            self._bytes -= self._kept.popitem(last=False)[1].size
