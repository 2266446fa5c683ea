"""The flags that `kaito local up` and `kaito demo` share, and the settings that they make."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from kaito.local.cluster_settings import MINORS, ClusterSettings, checked_minor, checked_weights
from kaito.local.robots.settings import FAULTS, RobotSettings, StageDelays, parse_fault

PORT_MAX = 65_535
DELAYS = tuple(
    field.name.removesuffix("_s").replace("_", "-") for field in fields(StageDelays) if field.name != "jitter"
)


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", default="0", metavar="N", help="port of the API server on 127.0.0.1 (default: a free one)"
    )
    parser.add_argument(
        "--pods",
        choices=("real", "instant"),
        default="real",
        help="real: containers of our images are processes of this machine; instant: only their stages are reported",
    )
    versions = ", ".join(f"1.{minor}" for minor in MINORS)
    parser.add_argument(
        "--emulate", default=f"1.{MINORS[-1]}", metavar="VERSION", help=f"the Kubernetes to behave like: {versions}"
    )
    parser.add_argument("--weights", metavar="DIR", help="a folder with the real weights of models")
    parser.add_argument(
        "--image", action="append", default=[], metavar="GLOB", help="images whose commands exist on this machine"
    )
    parser.add_argument(
        "--delay",
        action="append",
        default=[],
        metavar="STAGE=SECONDS",
        help=f"how long a stage takes; stages: {', '.join(DELAYS)}",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME[=VALUE][@GLOB]",
        help="something that goes wrong; see --faults",
    )
    parser.add_argument("--faults", action="store_true", help="print every fault and what it takes, and exit")


def cluster_settings(args: argparse.Namespace, *, directory: Path, kubeconfig: Path) -> ClusterSettings:
    """The settings that the flags name. Raises ValueError that names flag, value and remedy."""
    minor = checked_minor(args.emulate)
    robots = RobotSettings(
        delays=parse_delays(args.delay),
        faults=tuple(parse_fault(text) for text in args.fault),
        cluster_minor=minor,
    )
    return ClusterSettings(
        directory=directory.resolve(),
        kubeconfig=kubeconfig.resolve(),
        port=_port(args.port),
        pods=args.pods,
        minor=minor,
        weights=checked_weights(args.weights) if args.weights else None,
        images=tuple(args.image),
        robots=robots,
    )


def parse_delays(texts: Sequence[str]) -> StageDelays:
    """`launch=30s` and the like over the defaults. Raises ValueError."""
    delays = StageDelays()
    for text in texts:
        name, _, value = text.partition("=")
        if name not in DELAYS:
            raise ValueError(f"--delay {text!r}: unknown stage {name!r}; choose one of {', '.join(DELAYS)}")
        try:
            seconds = float(value.removesuffix("s"))
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < 1e6:
            raise ValueError(f"--delay {text!r}: expected seconds, such as {name}=30s")
        delays = replace(delays, **{name.replace("-", "_") + "_s": seconds})
    return delays


def faults_help() -> str:
    """Every fault with what it does and takes."""
    width = max(len(name) for name in FAULTS)
    lines = ["Faults (--fault NAME[=VALUE][@GLOB]; the glob matches names of objects and instance types):"]
    for name, kind in FAULTS.items():
        takes = {"": "", "seconds": f" [seconds, default {kind.default}]", "text": f" [default {kind.default!r}]"}
        lines.append(f"  {name:<{width}}  {kind.summary}{takes[kind.argument]}")
    return "\n".join(lines)


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) <= PORT_MAX):
        raise ValueError(f"--port {text!r}: expected a number from 0 (a free port) to {PORT_MAX}")
    return int(text)
