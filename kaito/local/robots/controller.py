"""Robot: one controller of the local cluster; and `drive`, which gives it keys to reconcile.

A robot is level-triggered: `reconcile` looks at the world as it is and takes the next step. At most one task per key;
an error of the API server is tried again with backoff, and never stops another key.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import anyio
import anyio.abc
import structlog

from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from kaito.local.robots.world import World

WAIT_MIN_S = 0.001  # stages are computed from datetimes: a wait below their microseconds would not end
RETRY_FIRST_S = 0.05
RETRY_MAX_S = 30.0
MALFORMED_RETRY_S = 30.0  # an object that a robot cannot read is looked at again when it changes, and after this
# What reading a malformed foreign object raises.
MALFORMED = (KeyError, ValueError, TypeError, AttributeError, IndexError)

log = structlog.get_logger(__name__)


class Robot(Protocol):
    name: str
    kinds: tuple[ResourceKind, ...]  # what it reads; nothing happens before all of them are listed

    def keys(self, kind: ResourceKind, old: Json | None, new: Json | None) -> Iterable[ObjectRef]:
        """The keys that this change concerns."""
        ...

    async def reconcile(self, key: ObjectRef) -> float | None:
        """Takes the next step. Returns in how many seconds to look again even if nothing changes."""
        ...


@runtime_checkable
class Host(Protocol):
    """A robot that does more than reconcile: it has a task of its own, and asks for reconciles itself."""

    def bind(self, enqueue: Callable[[ObjectRef], None]) -> None: ...

    async def run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Runs until cancelled; tells when reconciles may begin."""
        ...


class Drive:
    """The queue of one robot: coalescing, delayed, one task per key."""

    def __init__(self, robot: Robot, world: World, *, concurrency: int, is_strict: bool) -> None:
        self._robot = robot
        self._world = world
        self._limiter = anyio.Semaphore(concurrency)
        self._is_strict = is_strict
        self._ready: dict[ObjectRef, None] = {}
        self._later: list[tuple[float, int, ObjectRef]] = []
        self._due: dict[ObjectRef, float] = {}
        self._running: set[ObjectRef] = set()
        self._failures: dict[ObjectRef, int] = {}
        self._serial = 0
        self._wake = anyio.Event()
        world.listeners.append(self._listen)

    def _listen(self, kind: ResourceKind, old: Json | None, new: Json | None) -> None:
        if kind in self._robot.kinds:
            for key in self._robot.keys(kind, old, new):
                self.enqueue(key)

    def enqueue(self, key: ObjectRef) -> None:
        """Asks for a reconcile of the key as soon as may be."""
        self._ready[key] = None
        self._wake.set()

    async def run(self) -> None:
        """Reconciles for ever."""
        await self._world.wait_synced(self._robot.kinds)
        async with anyio.create_task_group() as tasks:
            while True:
                self._collect_due()
                for key in [key for key in self._ready if key not in self._running]:
                    await self._limiter.acquire()
                    self._ready.pop(key, None)
                    self._due.pop(key, None)
                    self._running.add(key)
                    tasks.start_soon(self._turn, key)
                await self._rest()

    async def _rest(self) -> None:
        """Sleeps until a key is ready or due."""
        wait_s = max(0.0, self._later[0][0] - anyio.current_time()) if self._later else float("inf")
        if not any(key not in self._running for key in self._ready):
            with anyio.move_on_after(wait_s):
                await self._wake.wait()
        if self._wake.is_set():
            self._wake = anyio.Event()

    def _collect_due(self) -> None:
        moment = anyio.current_time()
        while self._later and self._later[0][0] <= moment:
            due_s, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due_s:
                del self._due[key]
                self._ready[key] = None

    def _schedule(self, key: ObjectRef, after_s: float) -> None:
        due_s = anyio.current_time() + max(WAIT_MIN_S, after_s)
        if self._due.get(key, float("inf")) > due_s:
            self._due[key] = due_s
            self._serial += 1
            heapq.heappush(self._later, (due_s, self._serial, key))

    async def _turn(self, key: ObjectRef) -> None:
        try:
            after_s = await self._attempt(key)
        finally:
            self._running.discard(key)
            self._limiter.release()
        if after_s is not None:
            self._schedule(key, after_s)
        self._wake.set()

    async def _attempt(self, key: ObjectRef) -> float | None:
        try:
            after_s = await self._robot.reconcile(key)
        except (Conflict, NotFound, AlreadyExists):
            return self._backoff(key)  # the world moved on: look again
        except ApiError as error:
            log.warning("reconcile_failed", robot=self._robot.name, key=str(key), code=error.code, error=error.message)
            return self._backoff(key)
        except MALFORMED as error:
            if self._is_strict:
                raise
            log.warning("object_malformed", robot=self._robot.name, key=str(key), error=repr(error), exc_info=True)
            return MALFORMED_RETRY_S
        self._failures.pop(key, None)
        return after_s

    def _backoff(self, key: ObjectRef) -> float:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return float(min(RETRY_FIRST_S * 2 ** min(failures, 16), RETRY_MAX_S))
