"""`kaito plan -f FILE…`: what would happen, without touching anything."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio

from kaito.api.meta import Json
from kaito.cli.clients import open_client
from kaito.cli.plan_report import Report, report_json, report_lines, report_of
from kaito.cli.plan_world import FilesOnly, against, offline, read_files, ref_of
from kaito.cli.prices import Prices, load_prices
from kaito.cli.what_if import comparison, parse_what_if
from kaito.clock import wall_clock
from kaito.kube.errors import ApiError
from kaito.plan.preview import preview
from kaito.plan.validate import validate
from kaito.settings import PlanSettings
from kaito.state.graph import StateGraph
from kaito.state.graph_view import GraphView

NOTHING, ERROR, CHANGES = 0, 1, 2

World: TypeAlias = tuple[StateGraph, Json | None]  # and the Workspace that the cluster has


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--filename", nargs="+", required=True, metavar="FILE", help="Workspaces and ConfigMaps")
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
    parser.add_argument("--brief", action="store_true", help="name the objects without their content")
    parser.add_argument("--output", "-o", choices=("text", "json"), default="text", help="how to print it")


def run(args: argparse.Namespace) -> int:
    """0: nothing to do; 2: changes; 1: something is wrong."""
    try:
        cases = [parse_what_if(words) for words in args.what_if]
        prices = load_prices(args.prices)
        workspaces, config_maps, warnings = read_files([Path(name) for name in args.filename])
        settings = PlanSettings(cloud_provider=args.cloud_provider, node_provisioner=args.node_provisioner)
        worlds = _worlds(args.kubeconfig, workspaces, config_maps)
    except (ValueError, ApiError) as error:
        print(f"kaito plan: {error}", file=sys.stderr)
        return ERROR
    for warning in warnings:
        print(f"kaito plan: warning: {warning}", file=sys.stderr)
    is_offline = args.kubeconfig is None
    reports = [
        _report(body, graph, live, settings, prices, is_offline=is_offline)
        for body, (graph, live) in zip(workspaces, worlds, strict=True)
    ]
    if args.output == "json":
        print(json.dumps([report_json(report) for report in reports], indent=2))
    else:
        for report in reports:
            print("\n".join(report_lines(report, brief=args.brief)))
            if cases:
                print("\n" + "\n".join(comparison(report, cases, prices)))
    if any(report.errors for report in reports):
        return ERROR
    is_open = any(report.preview.has_changes or report.preview.blocked for report in reports)
    return CHANGES if is_open else NOTHING


def _worlds(kubeconfig: str | None, workspaces: list[Json], config_maps: list[Json]) -> list[World]:
    if kubeconfig is None:
        return [(offline(body, config_maps, wall_clock()), None) for body in workspaces]
    if not Path(kubeconfig).is_file():
        raise ValueError(f"--kubeconfig {kubeconfig!r}: no such file")
    return anyio.run(partial(_against_all, Path(kubeconfig), workspaces, config_maps), backend="asyncio")


async def _against_all(kubeconfig: Path, workspaces: list[Json], config_maps: list[Json]) -> list[World]:
    client = await open_client(kubeconfig)
    try:
        return [await against(client, body, config_maps, wall_clock()) for body in workspaces]
    finally:
        await client.aclose()


def _report(
    body: Json, graph: StateGraph, live: Json | None, settings: PlanSettings, prices: Prices, *, is_offline: bool
) -> Report:
    view = GraphView(graph)
    written = body | {"metadata": body["metadata"] | {"namespace": ref_of(body).namespace}}
    broken = validate(written, live, FilesOnly(view) if is_offline else view, settings)
    return report_of(preview(view, ref_of(body), wall_clock(), settings), prices, broken)
