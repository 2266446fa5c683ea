"""`kaito explain KIND/NAME`: the causal chain behind the state of a Workspace or RAGEngine, asked of the cluster."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec

from kaito.actors.roster import judge_root
from kaito.api.meta import Json, ObjectRef
from kaito.api.ragengine import RAGENGINE
from kaito.api.workspace import WORKSPACE
from kaito.cli.clients import find_kubeconfig, open_client
from kaito.cli.listed import graph_around
from kaito.clock import rfc3339, wall_clock
from kaito.kube.client import KubeClient
from kaito.kube.errors import ApiError, NotFound
from kaito.plan.explain import Cause, Explanation, explain, render
from kaito.plan.verdict import Failed
from kaito.settings import PlanSettings
from kaito.state.graph_view import GraphView

KINDS = dict.fromkeys(("", "workspace", "workspaces", "wk", "wks"), WORKSPACE)
KINDS |= dict.fromkeys(("ragengine", "ragengines", "rag"), RAGENGINE)
READY, NOT_READY, UNREADABLE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("object", metavar="KIND/NAME", help="what to explain: workspace/NAME or ragengine/NAME")
    parser.add_argument("-n", "--namespace", default="default", metavar="NS", help="its namespace (default: default)")
    parser.add_argument("--kubeconfig", metavar="F", help="default: $KUBECONFIG, .kaito/kubeconfig, ~/.kube/config")
    parser.add_argument("--output", "-o", choices=("text", "json"), default="text", help="how to print it")
    settings = PlanSettings()
    parser.add_argument(
        "--cloud-provider",
        choices=("azure", "aws", "arc"),
        default=settings.cloud_provider,
        help=f"as the operator was started with (default: {settings.cloud_provider})",
    )
    parser.add_argument(
        "--node-provisioner",
        choices=("azure-gpu-provisioner", "karpenter", "byo"),
        default=settings.node_provisioner,
        help=f"as the operator was started with (default: {settings.node_provisioner})",
    )


def run(args: argparse.Namespace) -> int:
    try:
        ref = parse_object(args.object, args.namespace)
        kubeconfig = find_kubeconfig(args.kubeconfig)
        settings = PlanSettings(cloud_provider=args.cloud_provider, node_provisioner=args.node_provisioner)
        told = anyio.run(partial(_explain_at, kubeconfig, ref, settings), backend="asyncio")
    except (ValueError, ApiError) as error:
        print(f"kaito explain: {error}", file=sys.stderr)
        return UNREADABLE
    now = wall_clock()
    print(render(told, now) if args.output == "text" else msgspec.json.encode(as_json(told)).decode())
    return READY if told.state == "Ready" else NOT_READY


def parse_object(text: str, namespace: str) -> ObjectRef:
    """`KIND/NAME`, or the NAME of a Workspace. Raises ValueError that says what is understood."""
    kind, _, name = text.rpartition("/")
    if not name or kind.lower() not in KINDS:
        raise ValueError(f"{text!r}: expected workspace/NAME or ragengine/NAME")
    return KINDS[kind.lower()].ref(namespace, name)


async def _explain_at(kubeconfig: Path, ref: ObjectRef, settings: PlanSettings) -> Explanation:
    client = await open_client(kubeconfig)
    try:
        return await explain_root(client, ref, wall_clock(), settings)
    finally:
        await client.aclose()


async def explain_root(client: KubeClient, ref: ObjectRef, now: datetime, settings: PlanSettings) -> Explanation:
    """Lists what concerns the root and asks the gates. Raises `NotFound` where there is no such object."""
    try:
        body = await client.read(KINDS[ref.kind.lower()], ref)
    except NotFound as error:
        raise NotFound(f"there is no {ref.kind} {ref.name} in namespace {ref.namespace}") from error
    graph = await graph_around(client, ref.namespace)
    verdicts = judge_root(GraphView(graph), ref, now, settings)
    state = "being deleted" if body["metadata"].get("deletionTimestamp") else _state(body)
    return explain(ref, state, verdicts)


def _state(body: Json) -> str:
    status: Any = body.get("status")
    return str((status or {}).get("state") or "not reconciled yet")


def as_json(told: Explanation) -> Json:
    """The explanation for machines: the causes as in `status.blockers[]`, with what failed marked."""
    return {
        "object": str(told.root),
        "state": told.state,
        "causes": [_cause(cause) for cause in told.causes],
        "symptoms": [_cause(cause) for cause in told.symptoms],
        "passed": [
            {"stage": stage.gate, "message": stage.message, "at": rfc3339(stage.since) if stage.since else None}
            for stage in told.passed
        ],
    }


def _cause(cause: Cause) -> Json:
    return {
        "gate": cause.gate,
        "failed": isinstance(cause, Failed),
        "reason": cause.reason,
        "message": cause.message,
        "culprit": str(cause.culprit),
        "since": rfc3339(cause.since) if cause.since else None,
        "nextStep": cause.next_step,
    }
