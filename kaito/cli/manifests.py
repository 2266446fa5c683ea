"""`kaito manifests [--check]`: writes the generated CustomResourceDefinitions, or says which file is out of date."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from kaito.api.crds import crds

DIRECTORY = Path("manifests") / "crds"
HEADER = "# Generated from kaito/api by `kaito manifests`; edit the model, not this file.\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when a file is out of date")
    parser.add_argument("--dir", default=str(DIRECTORY), metavar="D", help=f"where they are (default: {DIRECTORY})")


def rendered() -> dict[str, str]:
    """The text of each file by its name."""
    return {name: HEADER + yaml.safe_dump(body, sort_keys=False, width=120) for name, body in crds().items()}


def run(args: argparse.Namespace) -> int:
    folder = Path(args.dir)
    stale = [
        folder / name
        for name, text in rendered().items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]
    if args.check:
        for path in stale:
            print(f"{path} is out of date: run `kaito manifests`", file=sys.stderr)
        return 1 if stale else 0
    folder.mkdir(parents=True, exist_ok=True)
    for path in stale:
        path.write_text(rendered()[path.name], encoding="utf-8")
        print(f"wrote {path}")
    return 0
