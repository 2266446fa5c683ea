"""`kaito plan -f FILE…`: what would happen, without touching anything."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import anyio

from kaito.cli.clients import open_client
from kaito.cli.hub import add_hub_arguments, hub_endpoint
from kaito.cli.plan_files import Document, read_documents
from kaito.cli.plan_models import ask_hub, models_unknown
from kaito.cli.plan_report import report_json
from kaito.cli.plan_text import report_lines
from kaito.cli.plan_world import World, against, look_for, offline
from kaito.cli.planned import Planned, asked_for, plan_world, with_needs
from kaito.cli.prices import Prices, load_prices
from kaito.cli.tables import terminal_width
from kaito.cli.what_if import parse_what_if
from kaito.clock import wall_clock
from kaito.kube.errors import ApiError
from kaito.settings import PlanSettings

NOTHING, ERROR, CHANGES = 0, 1, 2
USAGE_ERROR = ERROR  # for a pipeline 2 is a change


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f",
        "--filename",
        nargs="+",
        action="extend",
        required=True,
        metavar="FILE",
        help="Workspaces, InferenceSets, RAGEngines, and the ConfigMaps, Secrets and claims beside them; - is stdin",
    )
    parser.add_argument("-n", "--namespace", default="default", metavar="NS", help="of objects that name none")
    parser.add_argument("--kubeconfig", metavar="F", help="compare with this cluster (default: plan from nothing)")
    parser.add_argument("--cloud-provider", choices=("azure", "aws", "arc"), default="azure", help="whose machines")
    parser.add_argument(
        "--node-provisioner",
        choices=("azure-gpu-provisioner", "karpenter", "byo"),
        default="azure-gpu-provisioner",
        help="who makes machines",
    )
    parser.add_argument(
        "--what-if", action="append", default=[], metavar="sku=…,replicas=…,context=…", help="compare side by side"
    )
    parser.add_argument("--prices", metavar="FILE", help="prices per hour, YAML (default: $KAITO_PRICES)")
    add_hub_arguments(parser)
    parser.add_argument("--offline", action="store_true", help="ask nobody but the cluster: the same as --no-hub")
    parser.add_argument("--brief", action="store_true", help="name the objects without their content")
    parser.add_argument("--output", "-o", choices=("text", "json"), default="text", help="how to print it")


def run(args: argparse.Namespace) -> int:
    """0: nothing to do; 2: changes; 1: something is wrong."""
    try:
        cases = [parse_what_if(words) for words in args.what_if]
        prices = load_prices(args.prices)
        documents, warnings = read_documents(args.filename, args.namespace)
        settings = PlanSettings(
            cloud_provider=args.cloud_provider,
            node_provisioner=args.node_provisioner,
            hub_endpoint="" if args.offline else hub_endpoint(args),
        )
        planned = _plan(args.kubeconfig, documents, settings, prices)
    except (ValueError, ApiError) as error:
        for line in str(error).splitlines():
            print(f"kaito plan: {line}", file=sys.stderr)
        return ERROR
    for warning in warnings:
        print(f"kaito plan: warning: {warning}", file=sys.stderr)
    if args.output == "json":
        print(json.dumps(report_json(planned, cases), indent=2))
    else:
        print("\n".join(report_lines(planned, cases, brief=args.brief, width=terminal_width())))
    if any(each.errors for each in planned):
        return ERROR
    return CHANGES if any(each.is_open for each in planned) else NOTHING


def _plan(
    kubeconfig: str | None, documents: Sequence[Document], settings: PlanSettings, prices: Prices
) -> list[Planned]:
    if kubeconfig is None:
        world = offline(documents, wall_clock())
        if any(models_unknown(world, settings)):
            anyio.run(partial(ask_hub, world, settings), backend="asyncio")
        return [with_needs(world, each) for each in plan_world(world, settings, prices, wall_clock())]
    if not Path(kubeconfig).is_file():
        raise ValueError(f"--kubeconfig {kubeconfig!r}: no such file")
    return anyio.run(partial(_plan_against, Path(kubeconfig), documents, settings, prices), backend="asyncio")


async def _plan_against(
    kubeconfig: Path, documents: Sequence[Document], settings: PlanSettings, prices: Prices
) -> list[Planned]:
    """A namespace at a time: whoever plans may not be allowed to list more."""
    client = await open_client(kubeconfig)
    found: list[Planned] = []
    try:
        for _, group in groupby(sorted(documents, key=_namespace), key=_namespace):
            world: World = await against(client, list(group), documents, wall_clock())
            if any(models_unknown(world, settings)):
                await ask_hub(world, settings, client)
            planned = plan_world(world, settings, prices, wall_clock())
            await look_for(client, world, asked_for(planned))
            found += [with_needs(world, each) for each in planned]
    finally:
        await client.aclose()
    return found


def _namespace(document: Document) -> str:
    return document.ref.namespace
