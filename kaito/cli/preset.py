"""`kaito preset list | show NAME | generate SOURCE`: the catalogue of models."""

from __future__ import annotations

import argparse
import sys

from kaito.cli.estimate import meant
from kaito.cli.tables import columns
from kaito.plan.catalog import ALIASES, Preset, find_preset, presets, similar_presets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    commands.add_parser("list", help="every model, with its size and context")
    show = commands.add_parser("show", help="all that is known of one model")
    made = commands.add_parser("generate", help="the catalogue's row of a model of the hub, or of a folder")
    made.add_argument("source", metavar="ORG/MODEL|DIR", help="asked of $HF_ENDPOINT with $HF_TOKEN, or read from disk")
    show.add_argument("name", metavar="NAME", help="an id, a short name or an alias, in any case")


def run(args: argparse.Namespace) -> int:
    if args.action == "list":
        rows = [
            (p.model_id, f"{p.weights_gib:.2f} GiB", str(p.context_tokens_max), p.license) for p in presets().values()
        ]
        print("\n".join(columns(("MODEL", "WEIGHTS", "CONTEXT", "LICENSE"), rows)))
        return 0
    if args.action == "generate":
        return _generate(args.source)
    preset = find_preset(args.name)
    if preset is None:
        known = meant(similar_presets(args.name))
        print(f"kaito preset show: NAME {args.name!r} is not in the catalogue{known}", file=sys.stderr)
        return 2
    print("\n".join(f"{name:<18}{value}" for name, value in facts_of(preset)))
    return 0


def _generate(source: str) -> int:
    from kaito.cli.preset_generate import HubError, generate, row_of  # brings an HTTP client along

    try:
        print(row_of(generate(source)), end="")
    except (HubError, ValueError) as error:
        print(f"kaito preset generate: {error}", file=sys.stderr)
        return 1
    return 0


def facts_of(preset: Preset) -> list[tuple[str, str]]:
    """What is known of the model; what does not apply is left out."""
    aliases = [alias for alias, model in ALIASES.items() if model == preset.model_id.lower()]
    found = [
        ("model", preset.model_id),
        ("aliases", ", ".join(aliases)),
        ("architecture", preset.architecture),
        ("license", preset.license),
        ("weights", f"{preset.weights_gib:.2f} GiB"),
        ("disk", f"{preset.disk_gib} GiB"),
        ("context", f"{preset.context_tokens_max} tokens"),
        ("attention", f"{preset.attention}, {preset.bytes_per_token} bytes of KV cache per token"),
        ("quantization", preset.quant_method),
        ("tool calls", preset.tool_parser),
        ("reasoning", preset.reasoning_parser),
        ("chat template", preset.chat_template),
    ]
    return [(name, value) for name, value in found if value]
