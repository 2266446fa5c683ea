"""The operator's composition root: what is nested in what is the order in which it ends. No logic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from random import Random

import anyio
import anyio.abc

from kaito.actors.applier import Applier
from kaito.actors.models import Hub, Models, NoHub
from kaito.actors.outcome import Outcome, Settled
from kaito.actors.queue import WorkItem
from kaito.actors.reader import Reader
from kaito.actors.roster import RootPlanner, plan_root
from kaito.actors.runner import Observer, Runner
from kaito.api.core import CONFIG_MAP
from kaito.api.meta import ObjectRef, ResourceKind
from kaito.clock import Clock
from kaito.kube.client import Discovery, KubeClient
from kaito.plan.actions import Emit, Plan, Remember
from kaito.plan.refusals import refusal_key
from kaito.plan.wire import actions_json
from kaito.settings import PlanSettings
from kaito.state.events import Apply, Delete, InitApply, InitDone, WatchEvent
from kaito.state.expectations import Expectation, Expectations
from kaito.state.graph import StateGraph
from kaito.state.graph_view import GraphView
from kaito.state.journal import Journal
from kaito.state.journal_lines import journal_lines
from kaito.state.kinds import KINDS, KindRow, is_leaving, metadata_of
from kaito.state.view import Answer, ServerCapabilities
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
        hub: Hub | None = None,
        planner: RootPlanner = plan_root,
        may_write: Callable[[float], bool] = lambda _deadline_s: True,
        emit: Callable[[Emit], None] = lambda _event: None,
        observe: Observer = lambda *_: None,
        on_trouble: Callable[[KindRow, Exception], None] = lambda _row, _error: None,
        on_expired: Callable[[Expectation], None] = lambda _: None,
        on_write: Callable[[str, str], None] = lambda _verb, _outcome: None,
        waited: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self.graph = StateGraph(
            KINDS,
            shares_nodes=settings.node_provisioner == "byo",
            standing=frozenset({CONFIG_MAP.ref(settings.release_namespace, settings.sku_config_map)}),
        )
        self.expectations = Expectations()
        self.journal = Journal()
        self._settings, self._now, self._observe, self._may_write = settings, now, observe, may_write
        self._planner = planner
        self.models = Models(client, hub or NoHub(), rng)
        self.reader = Reader(client, self.models, self._answered, now=now)
        applier = Applier(
            client,
            self.expectations,
            may_write=may_write,
            emit=emit,
            read=self.reader.ask,
            remember=self._noted,
            on_write=on_write,
            refused=self._refused,
        )
        self.view = GraphView(self.graph)
        self.runner = Runner(
            self._plan,
            applier,
            self.expectations,
            now=now,
            rng=rng,
            is_open=self.is_open,
            observe=self._ended,
            on_expired=on_expired,
            waited=waited,
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

    def dump(self) -> Iterator[bytes]:
        """The journal, a line at a time: what `kaito replay` reads."""
        return journal_lines(self.journal, asdict(self._settings), actions_json=actions_json)

    def _plan(self, ref: ObjectRef, moment: datetime) -> Plan:
        plan = self._planner(self.view, ref, moment, self._settings)
        self.journal.record(moment, "planned", ref=ref, content=plan.actions)
        return plan

    def _ended(self, item: WorkItem, plan: Plan, outcome: Outcome, seconds: float) -> None:
        if plan.actions:
            error = "" if isinstance(outcome, Settled) else f": {outcome.error}"
            content = [f"{type(outcome).__name__}{error}", *item.reasons]
            self.journal.record(self._now(), "ended", ref=item.ref, content=content)
        self._observe(item, plan, outcome, seconds)

    # What the supervisor tells (watchers.supervisor.World).

    def discovered(self, discovery: Discovery) -> None:
        self.journal.record(self._now(), "discovered", content=[discovery.major, discovery.minor])
        self.graph.capabilities = ServerCapabilities((discovery.major, discovery.minor))

    def receive(self, kind: ResourceKind, event: WatchEvent, *, list_began_s: float) -> None:
        dirtied = self.graph.apply(kind, event)
        self.journal.heard(self._now(), kind, self._as_kept(kind, event))
        match event:
            case Apply(ref, obj) | InitApply(ref, obj):
                if dirtied and self.expectations.is_own_status(ref, metadata_of(obj)[1]):
                    dirtied = dirtied - {ref}
                self._seen(ref, obj, is_deleted=False)
            case Delete(ref, obj):
                self._seen(ref, obj, is_deleted=True)
            case InitDone():
                self.runner.met(self.expectations.relisted(kind.kind, list_began_s))
            case _:
                pass
        self.runner.dirty(dirtied, kind.plural)

    def _as_kept(self, kind: ResourceKind, event: WatchEvent) -> WatchEvent:
        """The event with the object that the graph holds: it shares what is equal with the one before."""
        return Apply(event.ref, self.graph.stores[kind].get(event.ref)) if isinstance(event, Apply) else event

    def receive_named(self, kind: ResourceKind, ref: ObjectRef, obj: object | None) -> None:
        self.journal.record(self._now(), "named", kind, ref, obj)
        self.runner.dirty(self.graph.apply_named(kind, ref, obj), kind.plural)

    def unreferenced(self, kind: ResourceKind, ref: ObjectRef) -> None:
        self.journal.record(self._now(), "forgotten", kind, ref)
        self.graph.forget_named(kind, ref)

    def absent(self, kind: ResourceKind) -> None:
        if kind not in self.graph.absent:
            self.journal.record(self._now(), "absent", kind)
        self.runner.dirty(self.graph.mark_absent(kind), f"{kind.plural} absent")

    def referenced(self) -> frozenset[ObjectRef]:
        return self.graph.referenced()

    def _seen(self, ref: ObjectRef, obj: object, *, is_deleted: bool) -> None:
        uid, version = metadata_of(obj)
        met = self.expectations.observe(
            ref, uid=uid, version=version, is_deleted=is_deleted, is_leaving=is_leaving(obj)
        )
        self.runner.met(met)

    def _noted(self, action: Remember) -> None:
        answer = Answer(action.text, self._now())
        self.journal.record(answer.at, "answered", ref=action.root, content=(action.key, answer))
        self.graph.record_answer(action.root, action.key, answer)

    def _refused(self, root: ObjectRef, child: ObjectRef, words: str) -> None:
        known = self.graph.answers.get((root, refusal_key(child)))
        if words != (known.text if known else ""):
            self._answered(root, refusal_key(child), Answer(words, self._now()))

    def _answered(self, root: ObjectRef, key: str, answer: Answer) -> None:
        self.journal.record(self._now(), "answered", ref=root, content=(key, answer))
        self.runner.dirty(self.graph.record_answer(root, key, answer), "answer")
