"""The operator with all that surrounds it in a process: election, probes, metrics, Events, admission, journal, an
orderly end.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import anyio
import anyio.abc
import structlog

from kaito.actors.containment import contained
from kaito.actors.metrics import OperatorMetrics
from kaito.actors.models import Hub
from kaito.actors.outcome import Outcome, Retry, Settled, Terminal
from kaito.actors.queue import WorkItem
from kaito.actors.roster import plan_root
from kaito.actors.uninstall import Uninstall
from kaito.api.meta import ObjectRef
from kaito.api.workspace import WORKSPACE
from kaito.cli.hub import open_hub
from kaito.cli.journal_file import write_journal, write_on_signal
from kaito.clock import wall_clock
from kaito.kube.adapter import KubernetesAsyncioClient
from kaito.kube.client import KubeClient
from kaito.kube.leadership import LEASE_S, Leadership
from kaito.kube.recorder import Happening, Recorder
from kaito.logs import Event
from kaito.operator import Operator
from kaito.plan.actions import Emit, Plan
from kaito.settings import PlanSettings
from kaito.web.probes import serve_probes

COMPONENT = "kaito-operator"
OPERATOR_NAMESPACE = PlanSettings().release_namespace


@dataclass(frozen=True, slots=True)
class Options:
    """Which cluster, what to plan with, and where to listen. An empty address or folder: not at all."""

    kubeconfig: Path | None
    settings: PlanSettings
    leader_elect: bool = True
    namespace: str = OPERATOR_NAMESPACE
    metrics_address: str = "127.0.0.1:0"
    journal_dir: Path | None = None
    webhook_address: str = ""
    webhook_service: str = ""
    identity: str = ""  # in the Lease; empty: host name and process id


async def operate(
    options: Options,
    *,
    stop: anyio.Event | None = None,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Runs until cancelled, or told to `stop`; raises LeaseLost when another replica takes over.

    `task_status`: when it listens.
    """
    async with open_hub(options.settings.hub_endpoint, Random()) as hub:
        client = await KubernetesAsyncioClient.connect(options.kubeconfig)
        try:
            await _Surroundings(options, client, hub).run(stop, task_status)
        finally:
            with anyio.CancelScope(shield=True):
                await client.aclose()
            structlog.get_logger().info(Event.OPERATOR_STOPPED)


class _Surroundings:
    """All that an operator does not know of, connected to it."""

    def __init__(self, options: Options, client: KubeClient, hub: Hub | None) -> None:
        self._options, self._client = options, client
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
        self._recorder = Recorder(client, component=COMPONENT, now=wall_clock)
        self._leadership = Leadership(
            client,
            namespace=options.namespace,
            identity=options.identity or f"{socket.gethostname()}_{os.getpid()}",
            now=wall_clock,
            rng=Random(),
            changed=self._lead,
            on_trouble=self._lease_failed,
            on_stand=lambda holder: self._log.info(Event.LEADERSHIP_AWAITED, holder=holder, expires_s=LEASE_S),
        )
        may_write = self._leadership.may_write if options.leader_elect else lambda _deadline_s: True
        self._operator = Operator(
            client,
            options.settings,
            now=wall_clock,
            rng=Random(),
            hub=hub,
            planner=contained(plan_root, self._plan_failed),
            may_write=may_write,
            emit=self._emit,
            observe=self._observe,
            on_trouble=lambda row, error: self._log.warning(Event.WATCH_FAILED, kind=row.kind.plural, error=str(error)),
            on_expired=lambda opened: self._log.warning(
                Event.EXPECTATION_EXPIRED, root=str(opened.root), ref=str(opened.ref)
            ),
            on_write=lambda verb, outcome: self._metrics.writes.labels(verb, outcome).inc(),
            waited=lambda seconds: self._metrics.queue_seconds.observe(seconds),  # noqa: PLW0108 (made below)
        )
        self._metrics = OperatorMetrics(
            self._operator.graph,
            queue_depth=lambda: len(self._operator.runner.queue),
            watch_ages_s=lambda: self._operator.supervisor.ages_s(anyio.current_time()),
        )
        self._uninstall = Uninstall(
            client,
            self._operator.view,
            namespace=options.namespace,
            may_write=may_write,
            prepare=partial(_stop_asking, client),
            began=lambda scene: self._log.info(Event.UNINSTALL_BEGAN, kinds=[kind.plural for kind in scene.leaving]),
            on_trouble=lambda error: self._log.warning(Event.UNINSTALL_DELAYED, error=str(error)),
        )

    async def run(self, stop: anyio.Event | None, task_status: anyio.abc.TaskStatus[None]) -> None:
        options, operator = self._options, self._operator
        probes = serve_probes(
            options.metrics_address, missing=operator.graph.missing, exposition=self._metrics.exposition
        )
        try:
            async with probes as port, anyio.create_task_group() as tasks:
                self._log.info(Event.OPERATOR_STARTED, port=port, leader_elect=options.leader_elect)
                if stop is not None:
                    tasks.start_soon(self._end_in_good_order, stop, tasks)
                if options.webhook_address:
                    tasks.start_soon(self._serve_admission)
                if options.leader_elect:
                    await tasks.start(self._leadership.run)
                    tasks.start_soon(self._uninstall.hang)
                tasks.start_soon(self._recorder.run)
                if options.journal_dir:
                    tasks.start_soon(write_on_signal, options.journal_dir, operator.dump)
                await tasks.start(lambda task_status: operator.run(task_status=task_status))
                task_status.started()
        except Exception:
            if options.journal_dir:
                write_journal(options.journal_dir, operator.dump())
            raise

    async def _end_in_good_order(self, stop: anyio.Event, tasks: anyio.abc.TaskGroup) -> None:
        await stop.wait()
        left = await self._uninstall.run()
        if left:
            self._log.warning(Event.UNINSTALL_UNFINISHED, left=[str(ref) for ref in left], remedy="kaito uninstall")
        elif left is not None:
            self._log.info(Event.UNINSTALL_FINISHED)
        tasks.cancel_scope.cancel()

    async def _serve_admission(self) -> None:
        """Beside everything else: an operator that may not read its Secret reconciles all the same, and says so."""
        from kaito.webhook.keeper import Keeper, service_names  # brings cryptography along, 7 MB
        from kaito.webhook.server import Webhook, serve_webhook

        options = self._options
        keeper = Keeper(
            self._client,
            namespace=options.namespace,
            names=service_names(options.webhook_service, options.namespace),
            now=wall_clock,
            on_trouble=lambda error: self._log.warning(Event.WEBHOOK_NOT_SET_UP, error=str(error)),
        )
        async with anyio.create_task_group() as tasks:
            await tasks.start(keeper.run)
            webhook = Webhook(self._client, self._operator.view, options.settings, models=self._operator.models)
            async with serve_webhook(options.webhook_address, webhook, keeper.context) as port:
                self._log.info(Event.WEBHOOK_STARTED, port=port)
                await anyio.sleep_forever()

    def _lead(self) -> None:
        self._log.info(Event.LEADERSHIP_GAINED)
        self._operator.runner.wake()

    def _plan_failed(self, ref: ObjectRef, error: Exception) -> None:
        self._log.error(Event.PLAN_FAILED, root=str(ref), exc_info=error)

    def _lease_failed(self, error: Exception) -> None:
        self._log.warning(
            Event.LEASE_FAILED,
            namespace=self._options.namespace,
            error=str(error),
            remedy="make the namespace, name another with --namespace, or run one replica with --no-leader-elect",
        )

    def _emit(self, action: Emit) -> None:
        self._recorder.record(
            Happening(action.about, WORKSPACE.api_version, action.about_uid, action.type, action.reason, action.message)
        )

    def _observe(self, item: WorkItem, plan: Plan, outcome: Outcome, seconds: float) -> None:
        name = type(outcome).__name__.lower()
        self._metrics.reconcile_seconds.labels(name).observe(seconds)
        error = {"error": str(outcome.error)} if isinstance(outcome, Retry | Terminal) else {}
        is_held = isinstance(outcome, Settled) and outcome.is_held
        is_idle = (not plan.actions or is_held) and not error
        is_refused = isinstance(outcome, Terminal)  # the server will not have what we write: a bug of ours, or of a CRD
        log = self._log
        (log.debug if is_idle else log.warning if is_refused else log.info)(
            Event.ROOT_RECONCILED,
            root=str(item.ref),
            because=item.reasons,
            actions=[f"{type(action).__name__}: {getattr(action, 'reason', '')}" for action in plan.actions],
            outcome=name,
            seconds=round(seconds, 3),
            **error,
        )


async def _stop_asking(client: KubeClient) -> None:
    from kaito.webhook.keeper import stop_asking  # brings cryptography along

    await stop_asking(client)
