"""`kaito status [-w]`: all roots, how far each is, and what it waits for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import anyio
import msgspec

from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json
from kaito.api.ragengine import RAGENGINE
from kaito.api.workspace import WORKSPACE
from kaito.cli.clients import find_kubeconfig, open_client
from kaito.cli.signals import run_until_signal
from kaito.cli.states import state_of
from kaito.cli.tables import columns, cut, fitted, terminal_width
from kaito.clock import parse_rfc3339, wall_clock
from kaito.kube.client import Scope
from kaito.kube.errors import ApiError, NotFound
from kaito.plan.catalog import find_sku_anywhere
from kaito.plan.explain import age

KINDS = (WORKSPACE, INFERENCE_SET, RAGENGINE)
ORDER = [kind.kind for kind in (INFERENCE_SET, WORKSPACE, RAGENGINE)]
HEADER = ("NAMESPACE", "OBJECT", "STATE", "STAGE", "NODES", "GPUS", "AGE", "WAITS FOR", "SINCE", "NEXT STEP")
FACTS = HEADER.index("WAITS FOR")  # columns of facts; then come those of sentences
DISPENSABLE = ("GPUS", "NAMESPACE", "NODES", "STAGE", "AGE")  # what a narrow terminal does without, the first first
ELASTIC = ("OBJECT", "WAITS FOR", "NEXT STEP")
WORDS_MAX = 100
NAME_MIN = 32  # characters of an object's name that stand, as long as there are columns to do without
SENTENCE_MIN = 40  # characters for what is waited for, and for the next step; with fewer they stand below their row
NOT_INSTALLED = "the cluster has no Workspaces: install the CRDs first (kaito manifests)"
UNATTENDED = "the operator has not looked at it: does it run?"


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
    print("\n".join(status_table(roots, wall_clock(), terminal_width(), namespace=args.namespace)))
    return 0


def _watch(kubeconfig: Path, namespace: str) -> int:
    from kaito.cli.status_watch import follow  # brings a screen along

    def render(found: Sequence[Json], width: int | None) -> list[str]:
        return status_table(found, wall_clock(), width, namespace=namespace)

    status, _ = run_until_signal(partial(follow, kubeconfig, namespace, render))
    return status


async def _list(kubeconfig: Path, namespace: str) -> list[Json]:
    """All roots. Kinds that the cluster does not have are left out; ValueError where it has none of them."""
    client = await open_client(kubeconfig)
    found: list[Json] = []
    absent = 0
    try:
        for kind in KINDS:
            token = ""
            while True:
                try:
                    page = msgspec.json.decode(await client.list_page(kind, Scope(namespace), continue_=token))
                except NotFound:
                    absent += 1
                    break
                found += [{**item, "kind": kind.kind} for item in page.get("items") or []]
                token = page["metadata"].get("continue") or ""
                if not token:
                    break
    finally:
        await client.aclose()
    if absent == len(KINDS):
        raise ValueError(NOT_INSTALLED)
    return found


def status_table(roots: Sequence[Json], now: datetime, width: int | None = None, *, namespace: str = "") -> list[str]:
    """The lines of the table, by namespace, kind and name, in `width` characters where one is given."""
    if not roots:
        where = f" in namespace {namespace}" if namespace else ""
        return [f"no Workspaces, InferenceSets or RAGEngines{where}"]
    rows = [_row(one, now) for one in sorted(roots, key=_place)]
    if width is None:
        return columns(HEADER, rows)
    facts = columns(HEADER[:FACTS], [row[:FACTS] for row in rows])
    if max(map(len, facts)) + 2 * SENTENCE_MIN + len("   1m30s   " * 2) <= width:
        return fitted(HEADER, rows, width, elastic=ELASTIC, dispensable=())
    head, *lines = fitted(
        HEADER[:FACTS],
        [row[:FACTS] for row in rows],
        width,
        elastic=ELASTIC,
        dispensable=DISPENSABLE,
        elastic_min=NAME_MIN,
    )
    below = (_sentences(row, width) for row in rows)
    return [head, *(each for line, sentences in zip(lines, below, strict=True) for each in (line, *sentences))]


def _sentences(row: Sequence[str], width: int) -> Iterator[str]:
    waits, since, step = row[FACTS:]
    if waits:
        yield cut(f"  {since + ' ' if since else ''}{waits}", width)
    if step:
        yield cut(f"  next: {step}", width)


def _place(root: Json) -> tuple[str, int, str]:
    metadata = root["metadata"]
    return metadata.get("namespace", ""), ORDER.index(root.get("kind") or WORKSPACE.kind), metadata["name"]


def _row(root: Json, now: datetime) -> list[str]:
    meta, status = root["metadata"], root.get("status") or {}
    kind = root.get("kind") or WORKSPACE.kind
    blocker: Json = next(iter(status.get("blockers") or []), {})
    waits = f"{blocker['reason']}: {blocker['message']}" if blocker else ""
    return [
        meta.get("namespace", ""),
        f"{kind.lower()}/{meta['name']}",
        state_of(root) or "Pending",
        _stage(kind, root, status),
        _nodes(kind, root, status),
        _gpus(kind, root, status),
        age(parse_rfc3339(meta["creationTimestamp"]), now),
        _short(waits or ("" if status else UNATTENDED)),
        age(parse_rfc3339(blocker["since"]), now) if blocker.get("since") else "",
        _short(blocker.get("nextStep") or ""),
    ]


def _stage(kind: str, root: Json, status: Json) -> str:
    """The last stage that was passed; of a training run its steps, of an InferenceSet its replicas."""
    if kind == INFERENCE_SET.kind:
        wanted = (root.get("spec") or {}).get("replicas", 1)
        return f"{status.get('readyReplicas') or 0}/{wanted} replicas" if status else ""
    if (progress := status.get("progress")) and status.get("state") == "Running":
        left_s = progress.get("etaSeconds")
        left = f", {int(left_s) // 60}m left" if isinstance(left_s, int | float) else ""
        return f"step {progress.get('step')}/{progress.get('steps')}{left}"
    return str((status.get("timeline") or [{}])[-1].get("stage", ""))


def _target(kind: str, root: Json, status: Json) -> int:
    """How many nodes it needs; 0 where it has none of its own, or where that is not known."""
    if kind == RAGENGINE.kind:
        return 1 if (root.get("spec") or {}).get("compute") else 0
    target = status.get("targetNodeCount")
    return target if isinstance(target, int) else 0


def _nodes(kind: str, root: Json, status: Json) -> str:
    target = _target(kind, root, status)
    return f"{len(status.get('workerNodes') or [])}/{target}" if target and status else ""


def _gpus(kind: str, root: Json, status: Json) -> str:
    """How many GPUs its nodes have; empty where the instance type is not known."""
    resource = (root.get("spec") or {}).get("compute") if kind == RAGENGINE.kind else root.get("resource")
    asked = status.get("instanceType") or (resource or {}).get("instanceType") or ""
    sku, nodes = find_sku_anywhere(str(asked)), _target(kind, root, status)
    return str(sku.gpus * nodes) if sku and nodes else ""


def _short(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= WORDS_MAX else words[: WORDS_MAX - 1] + "…"
