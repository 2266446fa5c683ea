"""`kaito explain KIND/NAME`: the causal chain behind the state of a root, asked of the cluster."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import get_args

import anyio
import msgspec

from kaito.actors.roster import judge_root
from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json, ObjectRef
from kaito.api.ragengine import RAGENGINE
from kaito.api.workspace import WORKSPACE
from kaito.cli.clients import find_kubeconfig, open_client
from kaito.cli.listed import graph_around
from kaito.cli.states import NOT_YET, state_of
from kaito.cli.tables import terminal_width, wrapped
from kaito.clock import parse_rfc3339, rfc3339, wall_clock
from kaito.kube.client import KubeClient
from kaito.kube.errors import ApiError, NotFound
from kaito.plan.explain import Cause, Explanation, explain, render
from kaito.plan.roots import root_meta
from kaito.plan.verdict import Failed
from kaito.settings import PlanSettings, Provisioner
from kaito.state.graph_view import GraphView

KINDS = dict.fromkeys(("", "workspace", "workspaces", "wk", "wks"), WORKSPACE)
KINDS |= dict.fromkeys(("ragengine", "ragengines", "rag"), RAGENGINE)
KINDS |= dict.fromkeys(("inferenceset", "inferencesets", "is", "isets"), INFERENCE_SET)
UNDERSTOOD = "workspace/NAME, inferenceset/NAME or ragengine/NAME"
DONE = ("Ready", "Succeeded")
PARTS_MAX = 8
READY, NOT_READY, UNREADABLE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("object", metavar="KIND/NAME", help=f"what to explain: {UNDERSTOOD}")
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
        choices=get_args(Provisioner),
        help="as the operator was started with (default: as the object itself shows)",
    )


def run(args: argparse.Namespace) -> int:
    try:
        ref = parse_object(args.object, args.namespace)
        kubeconfig = find_kubeconfig(args.kubeconfig)
        settings = PlanSettings(cloud_provider=args.cloud_provider)
        told = anyio.run(partial(_explain_at, kubeconfig, ref, settings, args.node_provisioner), backend="asyncio")
    except (ValueError, ApiError) as error:
        print(f"kaito explain: {error}", file=sys.stderr)
        return UNREADABLE
    now = wall_clock()
    if args.output == "json":
        print(msgspec.json.encode(as_json(told)).decode())
    else:
        width = terminal_width()
        lines = render(told, now).splitlines()
        print("\n".join(piece for line in lines for piece in wrapped(line, len(line) - len(line.lstrip()) + 2, width)))
    return READY if told.state in DONE else NOT_READY


def parse_object(text: str, namespace: str) -> ObjectRef:
    """`KIND/NAME`, or the NAME of a Workspace. Raises ValueError that says what is understood."""
    kind, _, name = text.rpartition("/")
    if not name or kind.lower() not in KINDS:
        raise ValueError(f"{text!r}: expected {UNDERSTOOD}")
    return KINDS[kind.lower()].ref(namespace, name)


async def _explain_at(
    kubeconfig: Path, ref: ObjectRef, settings: PlanSettings, told: Provisioner | None
) -> Explanation:
    client = await open_client(kubeconfig)
    try:
        chosen = told or await shown_provisioner(client, ref)
        return await explain_root(client, ref, wall_clock(), replace(settings, node_provisioner=chosen))
    finally:
        await client.aclose()


async def shown_provisioner(client: KubeClient, ref: ObjectRef) -> Provisioner:
    """How machines come, as the object shows: without an instance type they are the user's own.

    What has a NodePool or NodeClaims is judged by these in any case.
    """
    if ref.kind == WORKSPACE.kind:
        with suppress(NotFound):
            body = await client.read(WORKSPACE, ref)
            if not (body.get("resource") or {}).get("instanceType"):
                return "byo"
    return PlanSettings().node_provisioner


async def explain_root(client: KubeClient, ref: ObjectRef, now: datetime, settings: PlanSettings) -> Explanation:
    """Lists what concerns the root and asks the gates. Raises `NotFound` where there is no such object."""
    try:
        body = await client.read(KINDS[ref.kind.lower()], ref)
    except NotFound as error:
        raise NotFound(f"there is no {ref.kind} {ref.name} in namespace {ref.namespace}") from error
    graph = await graph_around(client, ref.namespace)
    view = GraphView(graph)
    told = _told(view, ref, body, now, settings)
    culprits = [cause.culprit for cause in told.causes if cause.culprit.kind == WORKSPACE.kind != ref.kind]
    replicas = culprits or [replica.ref for replica in view.replicas_of(ref)]
    parts = [_explain_replica(view, each, now, settings) for each in dict.fromkeys(replicas)]
    return replace(told, parts=tuple(part for part in parts[:PARTS_MAX] if part is not None))


def _told(view: GraphView, ref: ObjectRef, body: Json, now: datetime, settings: PlanSettings) -> Explanation:
    created = body["metadata"].get("creationTimestamp")
    return explain(
        ref,
        state_of(body) or NOT_YET,
        judge_root(view, ref, now, settings),
        created=parse_rfc3339(created) if created else None,
        recorded=(body.get("status") or {}).get("timeline") or (),
    )


def _explain_replica(view: GraphView, ref: ObjectRef, now: datetime, settings: PlanSettings) -> Explanation | None:
    """The chain behind a replica: of all that an InferenceSet waits for, or, where it waits for none, of each."""
    found = view.root(ref)
    if found is None:
        return None
    root = root_meta(found)
    metadata = {"deletionTimestamp": root.deleting_since, "creationTimestamp": root.created}
    return _told(view, ref, {"kind": ref.kind, "metadata": metadata, "status": root.status}, now, settings)


def as_json(told: Explanation) -> Json:
    """The explanation for machines: the causes as in `status.blockers[]`, with what failed marked."""
    return {
        "object": str(told.root),
        "state": told.state,
        "created": rfc3339(told.created) if told.created else None,
        "causes": [_cause(cause) for cause in told.causes],
        "parts": [as_json(part) for part in told.parts],
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
