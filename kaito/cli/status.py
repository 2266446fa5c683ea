"""`kaito status`: the Workspaces, and what each waits for."""

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
from kaito.cli.tables import columns
from kaito.clock import parse_rfc3339, wall_clock
from kaito.kube.client import Scope
from kaito.kube.errors import ApiError
from kaito.plan.explain import age

HEADER = ("NAMESPACE", "NAME", "STATE", "NODES", "AGE", "WAITS FOR", "SINCE", "NEXT STEP")
WORDS_MAX = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", metavar="F", help="default: $KUBECONFIG, .kaito/kubeconfig, ~/.kube/config")
    parser.add_argument("-n", "--namespace", default="", metavar="NS", help="one namespace (default: all)")


def run(args: argparse.Namespace) -> int:
    try:
        kubeconfig = find_kubeconfig(args.kubeconfig)
        workspaces = anyio.run(partial(_list, kubeconfig, args.namespace), backend="asyncio")
    except (ValueError, ApiError) as error:
        print(f"kaito status: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    print("\n".join(status_table(workspaces, wall_clock())))
    return 0


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
        f"{ready}/{target}" if target else "",
        age(parse_rfc3339(meta["creationTimestamp"]), now),
        _short(waits or ("" if status else "the operator has not looked at it: does it run?")),
        age(parse_rfc3339(blocker["since"]), now) if blocker else "",
        _short(blocker.get("nextStep") or ""),
    ]


def _short(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= WORDS_MAX else words[: WORDS_MAX - 1] + "…"
