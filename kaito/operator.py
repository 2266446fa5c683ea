"""The operator's composition root: what is nested in what is the order in which it ends. No logic."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import anyio
import anyio.abc

from kaito.actors.applier import Applier
from kaito.actors.reader import Reader
from kaito.actors.roster import plan_root
from kaito.actors.runner import Observer, Runner
from kaito.api.meta import ObjectRef, ResourceKind
from kaito.clock import Clock
from kaito.kube.client import Discovery, KubeClient
from kaito.plan.actions import Emit
from kaito.settings import PlanSettings
from kaito.state.events import Apply, Delete, InitApply, InitDone, WatchEvent
from kaito.state.expectations import Expectation, Expectations
from kaito.state.graph import StateGraph
from kaito.state.graph_view import GraphView
from kaito.state.kinds import KINDS, KindRow, metadata_of
from kaito.state.view import ServerCapabilities
from kaito.watchers.supervisor import Supervisor


class Operator:
    """The parts, connected. `may_write` answers for the lease; without one the caller must be alone."""

    def __init__(
        self,
        client: KubeClient,
        settings: PlanSettings,
        *,
        now: Clock,
        rng: Random,
        may_write: Callable[[float], bool] = lambda _deadline_s: True,
        emit: Callable[[Emit], None] = lambda _event: None,
        observe: Observer = lambda *_: None,
        on_trouble: Callable[[KindRow, Exception], None] = lambda _row, _error: None,
        on_expired: Callable[[Expectation], None] = lambda _: None,
        on_write: Callable[[str, str], None] = lambda _verb, _outcome: None,
    ) -> None:
        self.graph = StateGraph(KINDS, shares_nodes=settings.node_provisioner == "byo")
        self.expectations = Expectations()
        self._may_write = may_write
        self.reader = Reader(client, self._answered, now=now)
        applier = Applier(
            client,
            self.expectations,
            may_write=may_write,
            emit=emit,
            read=self.reader.ask,
            on_write=on_write,
        )
        view = GraphView(self.graph)
        self.runner = Runner(
            lambda ref, moment: plan_root(view, ref, moment, settings),
            applier,
            self.expectations,
            now=now,
            rng=rng,
            is_open=self.is_open,
            observe=observe,
            on_expired=on_expired,
        )
        self.supervisor = Supervisor(client, KINDS, self, rng=rng, on_trouble=on_trouble)

    def is_open(self) -> bool:
        """Whether anything may be decided: every kind is synced, and we lead now."""
        return not self.graph.missing() and self._may_write(anyio.current_time())

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.supervisor.run)
            tasks.start_soon(self.reader.run)
            tasks.start_soon(self.runner.run)
            task_status.started()

    # What the supervisor tells (watchers.supervisor.World).

    def discovered(self, discovery: Discovery) -> None:
        self.graph.capabilities = ServerCapabilities((discovery.major, discovery.minor))

    def receive(self, kind: ResourceKind, event: WatchEvent, *, list_began_s: float) -> None:
        dirtied = self.graph.apply(kind, event)
        match event:
            case Apply(ref, obj) | InitApply(ref, obj):
                self._seen(ref, obj, is_deleted=False)
            case Delete(ref, obj):
                self._seen(ref, obj, is_deleted=True)
            case InitDone():
                self.runner.dirty(self.expectations.relisted(kind.kind, list_began_s), f"{kind.plural} listed")
            case _:
                pass
        self.runner.dirty(dirtied, kind.plural)

    def receive_named(self, kind: ResourceKind, ref: ObjectRef, obj: object | None) -> None:
        self.runner.dirty(self.graph.apply_named(kind, ref, obj), kind.plural)

    def unreferenced(self, kind: ResourceKind, ref: ObjectRef) -> None:
        self.graph.forget_named(kind, ref)

    def absent(self, kind: ResourceKind) -> None:
        self.runner.dirty(self.graph.mark_absent(kind), f"{kind.plural} absent")

    def referenced(self) -> frozenset[ObjectRef]:
        return self.graph.referenced()

    def _seen(self, ref: ObjectRef, obj: object, *, is_deleted: bool) -> None:
        uid, version = metadata_of(obj)
        met = self.expectations.observe(ref, uid=uid, version=version, is_deleted=is_deleted)
        self.runner.dirty(met, "write seen")

    def _answered(self, dirtied: Callable[[StateGraph], frozenset[ObjectRef]]) -> None:
        self.runner.dirty(dirtied(self.graph), "answer")
