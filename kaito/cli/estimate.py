"""`kaito estimate MODEL SKU`: node count, parallelism and the memory budget of one GPU, with the reasoning."""

from __future__ import annotations

import argparse
import sys

from kaito.cli.tables import columns
from kaito.plan.catalog import CLOUDS, find_preset, find_sku, similar_presets, similar_skus, skus
from kaito.plan.estimate import CONTEXT_TOKENS_DEFAULT, GIB, DoesNotFit, Estimate, estimate_nodes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a model of the catalogue (kaito preset list)")
    parser.add_argument("instance_type", nargs="?", metavar="SKU", help="an instance type, for example g5.12xlarge")
    parser.add_argument("--cloud", choices=CLOUDS, default="azure", help="whose instance types (default: azure)")
    parser.add_argument(
        "--context", type=int, default=CONTEXT_TOKENS_DEFAULT, metavar="N", help="tokens of context (default: 2048)"
    )
    parser.add_argument("--list-skus", action="store_true", help="the cloud's instance types, and nothing else")


def run(args: argparse.Namespace) -> int:
    if args.list_skus:
        rows = [(s.name, str(s.gpus), f"{s.memory_gib} GiB", s.model) for s in skus(args.cloud).values()]
        print("\n".join(columns(("INSTANCE TYPE", "GPUS", "GPU MEMORY", "MODEL"), rows)))
        return 0
    try:
        print(report(_estimate(args)))
    except DoesNotFit as error:
        print(f"kaito estimate: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"kaito estimate: {error}", file=sys.stderr)
        return 2
    return 0


def _estimate(args: argparse.Namespace) -> Estimate:
    if not args.model or not args.instance_type:
        raise ValueError("expected MODEL and SKU, or --list-skus")
    preset, sku = find_preset(args.model), find_sku(args.cloud, args.instance_type)
    if preset is None:
        raise ValueError(f"MODEL {args.model!r} is not in the catalogue{meant(similar_presets(args.model))}")
    if sku is None:
        near = meant(similar_skus(args.cloud, args.instance_type))
        raise ValueError(f"SKU {args.instance_type!r} is not known on {args.cloud}{near}")
    return estimate_nodes(preset, sku, context_tokens=args.context)


def meant(names: tuple[str, ...]) -> str:
    """The remedy: what the user may have meant."""
    return f"; did you mean {' or '.join(names)}?" if names else "; see kaito preset list and --list-skus"


def report(estimate: Estimate) -> str:
    """The estimate for a person."""
    budget = estimate.budget
    parts = [
        ("total", budget.total),
        ("usable", budget.usable),
        ("reserve", budget.reserve),
        ("weights", budget.weights),
        ("overhead", budget.overhead),
        ("KV cache", budget.kv_cache),
    ]
    lines = [f"{estimate.nodes} node{'s' if estimate.nodes > 1 else ''}, {estimate.parallelism}: {estimate.reasoning}"]
    lines += ["", "of one GPU:", *(f"  {name:<9}{size / GIB:8.2f} GiB" for name, size in parts)]
    lines += ["", f"largest context that fits: {estimate.context_tokens_max} tokens"]
    if estimate.nodes_exact != estimate.nodes:
        lines.append(f"with everything divided over the pipeline, {estimate.nodes_exact} would do")
    return "\n".join(lines)
