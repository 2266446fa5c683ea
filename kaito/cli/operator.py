"""`kaito operator`: runs the operator against a cluster until it is told to stop."""

from __future__ import annotations

import argparse
import gc
import os
import socket
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import anyio
import anyio.abc
import structlog

from kaito.actors.metrics import OperatorMetrics
from kaito.actors.models import Hub
from kaito.actors.outcome import Outcome, Retry, Settled, Terminal
from kaito.actors.queue import WorkItem
from kaito.actors.uninstall import Uninstall
from kaito.api.workspace import WORKSPACE
from kaito.cli.hub import add_hub_arguments, hub_endpoint, open_hub
from kaito.cli.journal_file import write_journal, write_on_signal
from kaito.cli.signals import run_until_signal
from kaito.clock import wall_clock
from kaito.kube.adapter import KubernetesAsyncioClient
from kaito.kube.errors import Unauthorized
from kaito.kube.leadership import Leadership
from kaito.kube.recorder import Happening, Recorder
from kaito.logs import Event, set_up_logs
from kaito.operator import Operator
from kaito.plan.actions import Emit, Plan
from kaito.plan.pods.proxy import proxy_variables
from kaito.settings import PlanSettings
from kaito.web.probes import parse_address, serve_probes
from kaito.webhook.keeper import Keeper, service_names, stop_asking
from kaito.webhook.server import Webhook, serve_webhook

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
COMPONENT = "kaito-operator"
OPERATOR_NAMESPACE = PlanSettings().release_namespace
# A full collection walks every object that the graph holds, and is the longest pause there is (0.15 s at 500
# Workspaces, `python -m benchmarks.reaction`). What the graph holds has no cycles, so collections may be rare.
COLLECTOR_THRESHOLDS = (50_000, 20, 100)
CLOUDS = ("azure", "aws", "arc")
PROVISIONERS = ("azure-gpu-provisioner", "karpenter", "byo")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", metavar="F", help="the cluster (default: in-cluster, else as kubectl finds it)")
    parser.add_argument(
        "--leader-elect", action=argparse.BooleanOptionalAction, default=True, help="elect one of several replicas"
    )
    parser.add_argument(
        "--namespace", metavar="NS", help="where the Lease is (default: the pod's, else kaito-workspace)"
    )
    parser.add_argument(
        "--metrics-bind-address",
        default=":8080",
        metavar="ADDR",
        help="/metrics, /healthz and /readyz (default: :8080)",
    )
    parser.add_argument(
        "--cloud-provider", choices=CLOUDS, default=os.environ.get("CLOUD_PROVIDER", "azure"), help="whose machines"
    )
    parser.add_argument("--node-provisioner", choices=PROVISIONERS, default=PROVISIONERS[0], help="who makes machines")
    parser.add_argument("--inference-image", metavar="IMAGE", help="the model server's image")
    parser.add_argument("--tuning-image", metavar="IMAGE", help="the trainer's image")
    parser.add_argument("--rag-image", metavar="IMAGE", help="the retrieval service's image")
    parser.add_argument(
        "--image-volumes",
        choices=("auto", "always", "never"),
        default=PlanSettings().image_volumes,
        help="mount what comes in images as volumes instead of copying it (auto: where server and nodes can)",
    )
    parser.add_argument(
        "--webhook-bind-address",
        default="",
        metavar="ADDR",
        help="serve the admission webhook over HTTPS, for example :9443 (default: not at all)",
    )
    parser.add_argument("--webhook-service", default="kaito-webhook", metavar="NAME", help="the webhook's Service")
    parser.add_argument(
        "--journal-dir",
        type=Path,
        default=Path(tempfile.gettempdir()),
        metavar="DIR",
        help="where the journal is written on SIGUSR1 and on a crash, for `kaito replay` (default: the temporary one)",
    )
    add_hub_arguments(parser)
    parser.add_argument(
        "--karpenter-node-classes",
        default="",
        metavar="NAME[,NAME]",
        help="the node classes that a Workspace may name, the default first (default: any, and the cloud's own)",
    )
    parser.add_argument("--log-format", choices=("auto", "console", "json"), default="auto")
    parser.add_argument("--log-level", default="info", metavar="LEVEL")


def run(args: argparse.Namespace) -> int:
    try:
        set_up_logs(args.log_format, args.log_level)
        parse_address(args.metrics_bind_address)
        if args.webhook_bind_address:
            parse_address(args.webhook_bind_address)
        stop = anyio.Event()
        status, _ = run_until_signal(partial(_serve, args, stop), told=stop.set)
    except (ValueError, Unauthorized, OSError) as error:
        print(f"kaito operator: {error}", file=sys.stderr)
        return 2
    return status


IMAGES = ("inference_image", "rag_image", "tuning_image")


def plan_settings(args: argparse.Namespace) -> PlanSettings:
    classes = tuple(name.strip() for name in args.karpenter_node_classes.split(",") if name.strip())
    chosen = PlanSettings(
        image_volumes=args.image_volumes,
        cloud_provider=args.cloud_provider,
        node_provisioner=args.node_provisioner,
        karpenter_node_class=classes[0] if classes else "",
        karpenter_node_classes=classes,
        hub_endpoint=hub_endpoint(args),
        proxy=proxy_variables(os.environ),
    )
    images = {name: getattr(args, name) for name in IMAGES if getattr(args, name)}
    return replace(chosen, **images)


async def _serve(args: argparse.Namespace, stop: anyio.Event) -> int:
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    await operate(
        Path(args.kubeconfig) if args.kubeconfig else None,
        plan_settings(args),
        leader_elect=args.leader_elect,
        namespace=args.namespace or _own_namespace(),
        metrics_address=args.metrics_bind_address,
        journal_dir=args.journal_dir,
        webhook_address=args.webhook_bind_address,
        webhook_service=args.webhook_service,
        stop=stop,
    )
    return 0


async def operate(
    kubeconfig: Path | None,
    settings: PlanSettings,
    *,
    leader_elect: bool = True,
    namespace: str = OPERATOR_NAMESPACE,
    metrics_address: str = "127.0.0.1:0",
    journal_dir: Path | None = None,
    webhook_address: str = "",
    webhook_service: str = "",
    stop: anyio.Event | None = None,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Runs until cancelled, or told to `stop`; raises LeaseLost when another replica takes over.

    `task_status`: when it listens.
    """
    async with open_hub(settings.hub_endpoint, Random()) as hub:
        await _operate_with(
            hub,
            kubeconfig,
            settings,
            leader_elect=leader_elect,
            namespace=namespace,
            metrics_address=metrics_address,
            journal_dir=journal_dir,
            webhook_address=webhook_address,
            webhook_service=webhook_service,
            stop=stop,
            task_status=task_status,
        )


async def _operate_with(
    hub: Hub | None,
    kubeconfig: Path | None,
    settings: PlanSettings,
    *,
    leader_elect: bool,
    namespace: str,
    metrics_address: str,
    journal_dir: Path | None,
    webhook_address: str,
    webhook_service: str,
    stop: anyio.Event | None,
    task_status: anyio.abc.TaskStatus[None],
) -> None:
    log = structlog.get_logger()
    client = await KubernetesAsyncioClient.connect(kubeconfig)
    recorder = Recorder(client, component=COMPONENT, now=wall_clock)
    leadership = Leadership(
        client,
        namespace=namespace,
        identity=f"{socket.gethostname()}_{os.getpid()}",
        now=wall_clock,
        rng=Random(),
        changed=lambda: _lead(operator, log),
        on_trouble=lambda error: log.warning(
            Event.LEASE_FAILED,
            namespace=namespace,
            error=str(error),
            remedy="make the namespace, name another with --namespace, or run one replica with --no-leader-elect",
        ),
    )

    def emit(action: Emit) -> None:
        recorder.record(
            Happening(action.about, WORKSPACE.api_version, action.about_uid, action.type, action.reason, action.message)
        )

    def observe(item: WorkItem, plan: Plan, outcome: Outcome, seconds: float) -> None:
        name = type(outcome).__name__.lower()
        metrics.reconcile_seconds.labels(name).observe(seconds)
        error = {"error": str(outcome.error)} if isinstance(outcome, Retry | Terminal) else {}
        is_held = isinstance(outcome, Settled) and outcome.is_held
        is_idle = (not plan.actions or is_held) and not error
        is_refused = isinstance(outcome, Terminal)  # the server will not have what we write: a bug of ours, or of a CRD
        (log.debug if is_idle else log.warning if is_refused else log.info)(
            Event.ROOT_RECONCILED,
            root=str(item.ref),
            because=item.reasons,
            actions=[f"{type(action).__name__}: {getattr(action, 'reason', '')}" for action in plan.actions],
            outcome=name,
            seconds=round(seconds, 3),
            **error,
        )

    operator = Operator(
        client,
        settings,
        now=wall_clock,
        rng=Random(),
        hub=hub,
        may_write=leadership.may_write if leader_elect else lambda _deadline_s: True,
        emit=emit,
        observe=observe,
        on_trouble=lambda row, error: log.warning(Event.WATCH_FAILED, kind=row.kind.plural, error=str(error)),
        on_expired=lambda opened: log.warning(Event.EXPECTATION_EXPIRED, root=str(opened.root), ref=str(opened.ref)),
        on_write=lambda verb, outcome: metrics.writes.labels(verb, outcome).inc(),
        waited=lambda seconds: metrics.queue_seconds.observe(seconds),  # noqa: PLW0108 (made below)
    )
    metrics = OperatorMetrics(
        operator.graph,
        queue_depth=lambda: len(operator.runner.queue),
        watch_ages_s=lambda: operator.supervisor.ages_s(anyio.current_time()),
    )

    uninstall = Uninstall(
        client,
        operator.view,
        namespace=namespace,
        may_write=leadership.may_write if leader_elect else lambda _deadline_s: True,
        prepare=lambda: stop_asking(client),
        began=lambda scene: log.info(Event.UNINSTALL_BEGAN, kinds=[kind.plural for kind in scene.leaving]),
        on_trouble=lambda error: log.warning(Event.UNINSTALL_DELAYED, error=str(error)),
    )

    async def end_in_good_order(stop: anyio.Event, tasks: anyio.abc.TaskGroup) -> None:
        await stop.wait()
        left = await uninstall.run()
        if left:
            log.warning(Event.UNINSTALL_UNFINISHED, left=[str(ref) for ref in left], remedy="kaito uninstall")
        elif left is not None:
            log.info(Event.UNINSTALL_FINISHED)
        tasks.cancel_scope.cancel()

    async def serve_admission() -> None:
        """Beside everything else: an operator that may not read its Secret reconciles all the same, and says so."""
        keeper = Keeper(
            client,
            namespace=namespace,
            names=service_names(webhook_service, namespace),
            now=wall_clock,
            on_trouble=lambda error: log.warning(Event.WEBHOOK_NOT_SET_UP, error=str(error)),
        )
        async with anyio.create_task_group() as tasks:
            await tasks.start(keeper.run)
            webhook = Webhook(client, operator.view, settings, models=operator.models)
            async with serve_webhook(webhook_address, webhook, keeper.context) as port:
                log.info(Event.WEBHOOK_STARTED, port=port)
                await anyio.sleep_forever()

    try:
        async with serve_probes(metrics_address, missing=operator.graph.missing, exposition=metrics.exposition) as port:
            log.info(Event.OPERATOR_STARTED, port=port, leader_elect=leader_elect)
            async with anyio.create_task_group() as tasks:
                if stop is not None:
                    tasks.start_soon(end_in_good_order, stop, tasks)
                if webhook_address:
                    tasks.start_soon(serve_admission)
                if leader_elect:
                    await tasks.start(leadership.run)
                    tasks.start_soon(uninstall.hang)
                tasks.start_soon(recorder.run)
                if journal_dir:
                    tasks.start_soon(write_on_signal, journal_dir, operator.dump)
                await tasks.start(lambda task_status: operator.run(task_status=task_status))
                task_status.started()
    except Exception:
        if journal_dir:
            write_journal(journal_dir, operator.dump())
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await client.aclose()
        log.info(Event.OPERATOR_STOPPED)


def _lead(operator: Operator, log: structlog.typing.FilteringBoundLogger) -> None:
    log.info(Event.LEADERSHIP_GAINED)
    operator.runner.wake()


def _own_namespace() -> str:
    return NAMESPACE_FILE.read_text().strip() if NAMESPACE_FILE.is_file() else OPERATOR_NAMESPACE
