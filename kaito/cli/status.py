"""`kaito status [-w]`: Workspaces and RAGEngines, how far each is, and what it waits for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import anyio
import msgspec

from kaito.api.meta import Json, ResourceKind
from kaito.api.ragengine import RAGENGINE
from kaito.api.workspace import WORKSPACE
from kaito.cli.clients import find_kubeconfig, open_client
from kaito.cli.signals import run_until_signal
from kaito.cli.tables import columns
from kaito.clock import parse_rfc3339, wall_clock
from kaito.kube.client import KubeClient, Scope
from kaito.kube.errors import ApiError, NotFound
from kaito.plan.catalog import find_sku_anywhere
from kaito.plan.explain import age

HEADER = ("NAMESPACE", "KIND", "NAME", "STATE", "STAGE", "NODES", "GPUS", "AGE", "WAITS FOR", "SINCE", "NEXT STEP")
WORDS_MAX = 100
NO_CRDS = "the cluster has no Workspaces: install the CRDs first (kaito manifests)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", metavar="F", help="default: $KUBECONFIG, .kaito/kubeconfig, ~/.kube/config")
    parser.add_argument("-n", "--namespace", default="", metavar="NS", help="one namespace (default: all)")
    parser.add_argument("-w", "--watch", action="store_true", help="keep the table up until Ctrl-C")


def run(args: argparse.Namespace) -> int:
    try:
        kubeconfig = find_kubeconfig(args.kubeconfig)
        if args.watch:
            return _watch(kubeconfig, args.namespace)
        roots = anyio.run(partial(_list, kubeconfig, args.namespace), backend="asyncio")
    except (ValueError, ApiError) as error:
        print(f"kaito status: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    print("\n".join(status_table(roots, wall_clock())))
    return 0


def _watch(kubeconfig: Path, namespace: str) -> int:
    from kaito.cli.status_watch import follow  # brings a screen along

    def render(found: Sequence[Json]) -> list[str]:
        return status_table(found, wall_clock())

    status, _ = run_until_signal(partial(follow, kubeconfig, namespace, render))
    return status


async def _list(kubeconfig: Path, namespace: str) -> list[Json]:
    client = await open_client(kubeconfig)
    try:
        workspaces = await _list_kind(client, WORKSPACE, namespace)
    except NotFound as error:
        raise ValueError(NO_CRDS) from error
    else:
        try:
            return workspaces + await _list_kind(client, RAGENGINE, namespace)
        except NotFound:  # a cluster need not have the kind
            return workspaces
    finally:
        await client.aclose()


async def _list_kind(client: KubeClient, kind: ResourceKind, namespace: str) -> list[Json]:
    found: list[Json] = []
    token = ""
    while True:
        page = msgspec.json.decode(await client.list_page(kind, Scope(namespace), continue_=token))
        found += [item | {"kind": kind.kind} for item in page.get("items") or []]
        token = page["metadata"].get("continue") or ""
        if not token:
            return found


def status_table(roots: Sequence[Json], now: datetime) -> list[str]:
    """The lines of the table, in (namespace, kind, name) order, Workspaces first."""
    if not roots:
        return ["no Workspaces"]
    ordered = sorted(
        roots,
        key=lambda one: (one["metadata"].get("namespace", ""), one["kind"] != WORKSPACE.kind, one["metadata"]["name"]),
    )
    return columns(HEADER, [_row(one, now) for one in ordered])


def _row(root: Json, now: datetime) -> list[str]:
    meta, status = root["metadata"], root.get("status") or {}
    blocker: Json = next(iter(status.get("blockers") or []), {})
    waits = f"{blocker['reason']}: {blocker['message']}" if blocker else ""
    machine, target = _machine(root)
    return [
        meta.get("namespace", ""),
        root["kind"],
        meta["name"],
        status.get("state") or "Pending",
        str((status.get("timeline") or [{}])[-1].get("stage", "")),
        f"{len(status.get('workerNodes') or [])}/{target}" if target else "",
        _gpus(machine, target),
        age(parse_rfc3339(meta["creationTimestamp"]), now),
        _short(waits or ("" if status else "the operator has not looked at it: does it run?")),
        age(parse_rfc3339(blocker["since"]), now) if blocker else "",
        _short(blocker.get("nextStep") or ""),
    ]


def _machine(root: Json) -> tuple[str, int]:
    """The instance type, and how many nodes are wanted; 0 while that is not known, or where none is."""
    if root["kind"] == RAGENGINE.kind:
        compute = (root.get("spec") or {}).get("compute")
        return str((compute or {}).get("instanceType") or ""), 1 if compute is not None else 0
    wanted = (root.get("status") or {}).get("targetNodeCount")
    return str((root.get("resource") or {}).get("instanceType") or ""), wanted if isinstance(wanted, int) else 0


def _gpus(instance_type: str, nodes: int) -> str:
    """How many GPUs so many nodes have; empty where the instance type is not known."""
    sku = find_sku_anywhere(instance_type)
    return str(sku.gpus * nodes) if sku and nodes else ""


def _short(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= WORDS_MAX else words[: WORDS_MAX - 1] + "…"
