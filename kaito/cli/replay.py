"""`kaito replay FILE`: what the operator heard, through the planner of today; prints each decision."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from kaito.actors.replay import Decision, replay
from kaito.state.journal_lines import NoJournal

ROOTS_MAX = 8
USAGE_ERROR = 1  # 2 is a decision that differs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="a journal: the operator writes one on SIGUSR1 and when it crashes"
    )
    parser.add_argument("--root", metavar="NAME", help="only decisions about this object (workspace/NS/NAME or NAME)")
    parser.add_argument("--all", action="store_true", help="also decisions to do nothing")
    parser.add_argument("--output", "-o", choices=("text", "json"), default="text", help="json: one decision a line")


def run(args: argparse.Namespace) -> int:
    """0: the planner decides as it did then; 2: it does not; 1: the file is no journal."""
    try:
        with Path(args.file).open("rb") as lines:
            return _print_all(args, lines)
    except (NoJournal, OSError) as error:
        print(f"kaito replay {args.file}: {error}", file=sys.stderr)
        return 1


def _print_all(args: argparse.Namespace, lines: object) -> int:
    count = differing = 0
    seen: set[str] = set()
    for decision in replay(lines):  # type: ignore[arg-type]
        seen.add(str(decision.root))
        if args.root and args.root not in (decision.root.name, str(decision.root)):
            continue
        count += 1
        differing += not decision.is_same
        if args.all or decision.now or decision.then:
            print(_json(decision) if args.output == "json" else _text(decision))
    if args.root and not count:
        print(f"kaito replay: no decision about {args.root!r}; {_those(sorted(seen))}", file=sys.stderr)
    if args.output == "text":
        print(f"{count} decisions, {differing} of them other than at the time")
    return 2 if differing else 0


def _those(roots: list[str]) -> str:
    if not roots:
        return "the journal holds none at all: the operator was not the leader yet, or nothing had happened"
    more = f" and {len(roots) - ROOTS_MAX} more" if len(roots) > ROOTS_MAX else ""
    return f"there are some about {', '.join(roots[:ROOTS_MAX])}{more}"


def _json(decision: Decision) -> str:
    found = {"seq": decision.seq, "at": decision.at.isoformat(), "root": str(decision.root), "actions": decision.now}
    return json.dumps(found | ({} if decision.is_same else {"recorded": decision.then}), sort_keys=True)


def _text(decision: Decision) -> str:
    head = f"{decision.seq:>6} {decision.at:%Y-%m-%d %H:%M:%S.%f} {decision.root}"
    now = [f"       {action['action']} {action['ref']}: {action['reason']}" for action in decision.now]
    lines = [head, *(now or ["       nothing to do"])]
    if not decision.is_same:
        lines.append("       recorded at the time:")
        lines += [f"         {action['action']} {action['ref']}: {action['reason']}" for action in decision.then]
    return "\n".join(lines)
