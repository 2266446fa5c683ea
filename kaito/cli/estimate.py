"""`kaito estimate MODEL`: what a model needs on each instance type, cheapest fitting first, or on one in detail."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence

from kaito.cli.estimate_rows import Row, row_json, rows
from kaito.cli.prices import Prices, load_prices
from kaito.cli.tables import columns, fitted, terminal_width, wrapped
from kaito.plan.catalog import (
    CLOUDS,
    Preset,
    Sku,
    find_preset,
    find_sku_anywhere,
    is_hub_name,
    similar_presets,
    similar_skus,
    skus,
)
from kaito.plan.estimate import CONTEXT_TOKENS_DEFAULT, GIB, Estimate

PRICE = "PER HOUR"
HEADER = ("INSTANCE TYPE", "NODES", "GPUS", "SHAPE", "CONTEXT MAX", "WEIGHTS", "KV CACHE", "FREE", PRICE)
DISPENSABLE = ("KV CACHE", "WEIGHTS", "FREE", "SHAPE")  # what a narrow terminal does without, the first first
UNPRICED = "no prices are known: in the order of the GPU memory that the nodes bring (see --prices)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a model of the catalogue (kaito preset list)")
    parser.add_argument("instance_type", nargs="?", metavar="SKU", help="the same as --sku SKU")
    parser.add_argument("--sku", action="append", default=[], metavar="SKU", help="only this type (repeatable)")
    parser.add_argument("--cloud", choices=CLOUDS, default="azure", help="whose instance types (default: azure)")
    parser.add_argument(
        "--context", type=int, default=CONTEXT_TOKENS_DEFAULT, metavar="N", help="tokens of context (default: 2048)"
    )
    parser.add_argument("--prices", metavar="FILE", help="prices per hour, YAML (default: $KAITO_PRICES)")
    parser.add_argument("--output", "-o", choices=("text", "json"), default="text", help="how to print it")
    parser.add_argument("--list-skus", action="store_true", help="the cloud's instance types, and nothing else")


def run(args: argparse.Namespace) -> int:
    """0; 1 where the model fits none of the types; 2 for what cannot be asked."""
    if args.list_skus:
        listed = [(s.name, str(s.gpus), f"{s.memory_gib} GiB", s.model) for s in skus(args.cloud).values()]
        print("\n".join(columns(("INSTANCE TYPE", "GPUS", "GPU MEMORY", "MODEL"), listed)))
        return 0
    try:
        prices = load_prices(args.prices)
        candidates = _candidates(args)
        preset = _preset(args)
        found = rows(preset, candidates, args.context, prices)
    except ValueError as error:
        print(f"kaito estimate: {error}", file=sys.stderr)
        return 2
    for note in _notes(preset, args.context, found):
        print(f"kaito estimate: {note}", file=sys.stderr)
    if args.output == "json":
        print(json.dumps([row_json(row) for row in found], indent=2))
    elif len(found) == 1:
        return _print_one(found[0], prices)
    else:
        print("\n".join(table(found, terminal_width())))
    return 0 if any(row.estimate for row in found) else 1


def _notes(preset: Preset, context_tokens: int, found: Sequence[Row]) -> Iterator[str]:
    """What the figures alone do not say."""
    if 0 < preset.context_tokens_max < context_tokens:
        own = f"{preset.model_id} takes {preset.context_tokens_max} tokens of context at most"
        yield f"warning: {own}, whatever fits; {context_tokens} were asked"
    fitting = [row for row in found if row.estimate is not None]
    if len(found) > 1 and not fitting:
        yield f"{preset.model_id} fits none of the {len(found)} instance types with {context_tokens} tokens of context"
    if len(fitting) > 1 and all(row.price is None for row in fitting):
        yield UNPRICED


def _preset(args: argparse.Namespace) -> Preset:
    if not args.model:
        raise ValueError("expected MODEL, or --list-skus")
    preset = find_preset(args.model)
    if preset is None and is_hub_name(args.model):
        return _of_hub(args.model)
    if preset is None:
        raise ValueError(f"MODEL {args.model!r} is not in the catalogue{meant(similar_presets(args.model))}")
    return preset


def _of_hub(model: str) -> Preset:
    from kaito.cli.preset_generate import HubError, generate  # brings an HTTP client along

    try:
        return generate(model)
    except HubError as error:
        raise ValueError(f"MODEL {model!r} is not in the catalogue, and the hub says: {error}") from error


def _candidates(args: argparse.Namespace) -> list[Sku]:
    asked = [*args.sku, *([args.instance_type] if args.instance_type else [])]
    if not asked:
        return list(skus(args.cloud).values())
    found = []
    for name in asked:
        sku = find_sku_anywhere(name)
        if sku is None:
            raise ValueError(f"SKU {name!r} is not known on {args.cloud}{meant(similar_skus(args.cloud, name))}")
        found.append(sku)
    return found


def _print_one(row: Row, prices: Prices) -> int:
    if row.estimate is None:
        print(f"kaito estimate: {row.reason}", file=sys.stderr)
        return 1
    print(report(row.estimate, terminal_width()))
    if words := prices.words(row.sku.name, row.estimate.nodes):
        print(words)
    return 0


def table(found: Sequence[Row], width: int | None = None) -> list[str]:
    """The rows for a person, in `width` characters where one is given; bytes are of one GPU."""
    fitting = [row for row in found if row.estimate is not None]
    cells = [_cells(row) for row in fitting]
    is_priced = any(row.price is not None for row in fitting)
    header = HEADER if is_priced else HEADER[:-1]
    cells = cells if is_priced else [row[:-1] for row in cells]
    lines: list[str] = []
    if fitting and width is None:
        lines = columns(header, cells)
    elif fitting and width is not None:
        lines = fitted(header, cells, width, elastic=(), dispensable=DISPENSABLE)
    misfits = [line for row in found if row.estimate is None for line in wrapped(row.reason, 2, width)]
    return [*lines, *([""] if lines and misfits else []), *misfits]


def _cells(row: Row) -> tuple[str, ...]:
    found = row_json(row)
    sizes = found["per_gpu_bytes"]
    return (
        row.sku.name,
        str(found["nodes"]),
        str(found["nodes"] * row.sku.gpus),
        str(row.estimate.parallelism) if row.estimate else "",
        str(found["context_tokens_max"]),
        *(f"{sizes[part] / GIB:.1f} GiB" for part in ("weights", "kv_cache", "free")),
        "" if row.price is None else f"{row.price:.2f}",
    )


def meant(names: tuple[str, ...]) -> str:
    """The remedy: what the user may have meant."""
    return f"; did you mean {' or '.join(names)}?" if names else "; see kaito preset list and --list-skus"


def report(estimate: Estimate, width: int | None = None) -> str:
    """The estimate for a person, in `width` characters where one is given."""
    budget = estimate.budget
    parts = [
        ("total", budget.total),
        ("usable", budget.usable),
        ("reserve", budget.reserve),
        ("weights", budget.weights),
        ("overhead", budget.overhead),
        ("KV cache", budget.kv_cache),
    ]
    nodes = f"{estimate.nodes} node{'s' if estimate.nodes > 1 else ''}"
    lines = wrapped(f"{nodes}, {estimate.parallelism}: {estimate.reasoning}", 2, width)
    lines += ["", "of one GPU:", *(f"  {name:<9}{size / GIB:8.2f} GiB" for name, size in parts)]
    lines += ["", f"largest context that fits: {estimate.context_tokens_max} tokens"]
    if estimate.nodes_exact != estimate.nodes:
        lines.append(f"with everything divided over the pipeline, {estimate.nodes_exact} would do")
    return "\n".join(lines)
