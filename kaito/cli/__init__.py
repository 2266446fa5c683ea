"""The `kaito` command: thin modules that parse, call and print. A module is imported only when its command is run.

Each command module has `add_arguments(parser)` and `run(args) -> int` (the exit status). Where 2 means something else
than a wrong command line, the module says so by `USAGE_ERROR`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from kaito import __version__

COMMANDS = {
    "demo": "bring a model up on this machine: local cluster, operator, Workspace, answers",
    "local": "a cluster on a laptop: up, down, robots",
    "operator": "run the operator against a cluster",
    "status": "the Workspaces and what each waits for",
    "plan": "what a Workspace would need, against a cluster or from nothing, touching neither",
    "explain": "the causal chain behind an object's state, deepest cause first",
    "estimate": "GPU memory, node count and parallelism of a model on an instance type",
    "preset": "the catalogue of models",
    "tune": "the loss curve of a tuning run",
    "replay": "run a journal of the operator through the planner again",
    "uninstall": "finish an uninstall that waits for an operator which does not run any more",
    "manifests": "print or check the generated CustomResourceDefinitions",
}


class _Parser(argparse.ArgumentParser):
    """`usage_error`: the exit status of a command line that is wrong."""

    usage_error = 2

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(self.usage_error, f"{self.prog}: error: {message}\n")


def run(argv: Sequence[str]) -> int:
    """Runs one command line. Returns the exit status."""
    parser = _Parser(prog="kaito", description="Open models on Kubernetes, and why they wait.")
    parser.add_argument("--version", action="version", version=f"kaito {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in argv if not word.startswith("-")), "")
    for name, summary in COMMANDS.items():
        child = subparsers.add_parser(name, help=summary, description=summary)
        if name == chosen:
            module = importlib.import_module(f"kaito.cli.{name}")
            module.add_arguments(child)
            parser.usage_error = child.usage_error = getattr(module, "USAGE_ERROR", parser.usage_error)
            child.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    status: int = args.run(args)
    return status
