"""`kaito tune report SOURCE`: the loss of a tuning run, drawn in the terminal and as an SVG."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from kaito.tuning.errors import ConfigError
from kaito.tuning.report import parse_curve, read_curve, svg, terminal

WIDTH_MAX = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    report = commands.add_parser("report", help="the loss of a run, drawn")
    report.add_argument(
        "source",
        metavar="SOURCE",
        help="an output folder, its training_progress.jsonl, a trainer's log, or - for a log on standard input "
        "(kubectl logs job/NAME | kaito tune report -)",
    )
    report.add_argument("--svg", type=Path, metavar="FILE", help="write a picture there as well")
    report.add_argument("--title", default="Loss", help="of the picture (default: Loss)")


def run(args: argparse.Namespace) -> int:
    try:
        curve = parse_curve(sys.stdin, "standard input") if args.source == "-" else read_curve(Path(args.source))
        if args.svg is not None:
            args.svg.write_text(svg(curve, title=args.title), encoding="utf-8")
    except (ConfigError, OSError) as error:
        print(f"kaito tune report: {error}", file=sys.stderr)
        return 2
    print(terminal(curve, width=min(WIDTH_MAX, shutil.get_terminal_size().columns)))
    return 0
