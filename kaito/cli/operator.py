"""`kaito operator`: runs the operator against a cluster until it is told to stop."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import anyio.abc

from kaito.cli.hub import add_hub_arguments, hub_endpoint
from kaito.cli.operate import OPERATOR_NAMESPACE, Options, operate
from kaito.cli.signals import run_until_signal
from kaito.kube.errors import Unauthorized
from kaito.logs import set_up_logs
from kaito.plan.pods.proxy import proxy_variables
from kaito.settings import PlanSettings
from kaito.web.probes import parse_address

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
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
    """Raises ValueError for a cloud that the environment names and nobody knows: argparse checks no defaults."""
    if args.cloud_provider not in CLOUDS:
        raise ValueError(f"CLOUD_PROVIDER={args.cloud_provider!r}: use one of {', '.join(CLOUDS)}")
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
    options = Options(
        Path(args.kubeconfig) if args.kubeconfig else None,
        plan_settings(args),
        leader_elect=args.leader_elect,
        namespace=args.namespace or _own_namespace(),
        metrics_address=args.metrics_bind_address,
        journal_dir=args.journal_dir,
        webhook_address=args.webhook_bind_address,
        webhook_service=args.webhook_service,
    )
    await operate(options, stop=stop)
    return 0


def _own_namespace() -> str:
    return NAMESPACE_FILE.read_text().strip() if NAMESPACE_FILE.is_file() else OPERATOR_NAMESPACE
