"""`kaito status [-w]`: the Workspaces, how far each is, and what it waits for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import anyio
import msgspec

from kaito.api.meta import Json
from kaito.api.workspace import WORKSPACE
from kaito.cli.clients import find_kubeconfig, open_client
from kaito.cli.signals import run_until_signal
from kaito.cli.tables import columns
from kaito.clock import parse_rfc3339, wall_clock
from kaito.kube.client import Scope
from kaito.kube.errors import ApiError
from kaito.plan.catalog import find_sku_anywhere
from kaito.plan.explain import age

HEADER = ("NAMESPACE", "NAME", "STATE", "STAGE", "NODES", "GPUS", "AGE", "WAITS FOR", "SINCE", "NEXT STEP")
WORDS_MAX = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", metavar="F", help="default: $KUBECONFIG, .kaito/kubeconfig, ~/.kube/config")
    parser.add_argument("-n", "--namespace", default="", metavar="NS", help="one namespace (default: all)")
    parser.add_argument("-w", "--watch", action="store_true", help="keep the table up until Ctrl-C")


def run(args: argparse.Namespace) -> int:
    try:
        kubeconfig = find_kubeconfig(args.kubeconfig)
        if args.watch:
            return _watch(kubeconfig, args.namespace)
        workspaces = anyio.run(partial(_list, kubeconfig, args.namespace), backend="asyncio")
    except (ValueError, ApiError) as error:
        print(f"kaito status: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    print("\n".join(status_table(workspaces, wall_clock())))
    return 0


def _watch(kubeconfig: Path, namespace: str) -> int:
    from kaito.cli.status_watch import follow  # brings a screen along

    def render(found: Sequence[Json]) -> list[str]:
        return status_table(found, wall_clock())

    status, _ = run_until_signal(partial(follow, kubeconfig, namespace, render))
    return status


async def _list(kubeconfig: Path, namespace: str) -> list[Json]:
    client = await open_client(kubeconfig)
    found: list[Json] = []
    try:
        token = ""
        while True:
            page = msgspec.json.decode(await client.list_page(WORKSPACE, Scope(namespace), continue_=token))
            found += page.get("items") or []
            token = page["metadata"].get("continue") or ""
            if not token:
                return found
    finally:
        await client.aclose()


def status_table(workspaces: Sequence[Json], now: datetime) -> list[str]:
    """The lines of the table, in (namespace, name) order."""
    if not workspaces:
        return ["no Workspaces"]
    ordered = sorted(workspaces, key=lambda one: (one["metadata"].get("namespace", ""), one["metadata"]["name"]))
    return columns(HEADER, [_row(one, now) for one in ordered])


def _row(workspace: Json, now: datetime) -> list[str]:
    meta, status = workspace["metadata"], workspace.get("status") or {}
    blocker: Json = next(iter(status.get("blockers") or []), {})
    waits = f"{blocker['reason']}: {blocker['message']}" if blocker else ""
    ready, target = len(status.get("workerNodes") or []), status.get("targetNodeCount")
    return [
        meta.get("namespace", ""),
        meta["name"],
        status.get("state") or "Pending",
        str((status.get("timeline") or [{}])[-1].get("stage", "")),
        f"{ready}/{target}" if target else "",
        _gpus(workspace, target),
        age(parse_rfc3339(meta["creationTimestamp"]), now),
        _short(waits or ("" if status else "the operator has not looked at it: does it run?")),
        age(parse_rfc3339(blocker["since"]), now) if blocker else "",
        _short(blocker.get("nextStep") or ""),
    ]


def _gpus(workspace: Json, nodes: object) -> str:
    """How many GPUs so many nodes have; empty where the instance type is not known."""
    resource = workspace.get("resource") or {}
    sku = find_sku_anywhere(str(resource.get("instanceType") or ""))
    return str(sku.gpus * nodes) if sku and isinstance(nodes, int) and nodes else ""


def _short(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= WORDS_MAX else words[: WORDS_MAX - 1] + "…"
