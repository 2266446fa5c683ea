"""`kaito local up | down | robots`: a cluster on a laptop, or the machines of another one."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import TextIO, cast, get_args

import anyio
import anyio.abc

from kaito.cli.clients import open_client
from kaito.cli.cluster_arguments import add_cluster_arguments, cluster_settings, faults_help
from kaito.cli.signals import run_until_signal
from kaito.clock import wall_clock
from kaito.local.cluster import Cluster, Parts, kubelet_of, local_cluster
from kaito.local.cluster_settings import ClusterSettings
from kaito.local.persist import BrokenState
from kaito.local.presence import AlreadyRunning, live_in, make_folder, stop
from kaito.local.robots.run import ALL_ROBOTS, MACHINES, run_robots
from kaito.logs import set_up_logs
from kaito.settings import PlanSettings, Provisioner

DIRECTORY = ".kaito"
STOP_TIMEOUT_S = 40.0
LOG_FILE = "cluster.log"  # of a detached cluster: what it would have printed
OPERATOR_LOG = "operator.log"
READY_FD = "KAITO_READY_FD"  # where a detached cluster says that it is up
LOG_TAIL_LINES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    up = commands.add_parser("up", help="start the cluster, and the operator in it")
    add_cluster_arguments(up)
    up.add_argument(
        "--dir",
        metavar="D",
        help=f"where it keeps everything, its state from run to run too (without: {DIRECTORY}, anew)",
    )
    up.add_argument("--detach", action="store_true", help="return when it is up; it goes on in the background")
    up.add_argument("--no-operator", action="store_true", help="start the cluster alone")
    up.add_argument(
        "--node-provisioner",
        choices=get_args(Provisioner),
        default="azure-gpu-provisioner",
        help="who makes machines, for the operator and for the rules that new objects are held to",
    )
    down = commands.add_parser("down", help="stop the cluster and wait until all of it is gone")
    down.add_argument("--dir", default=DIRECTORY, metavar="D", help=f"where it was started (default: {DIRECTORY})")
    robots = commands.add_parser(
        "robots", help="drive another API server: machines and pods beside its own controllers"
    )
    add_cluster_arguments(robots)
    robots.add_argument("--kubeconfig", required=True, metavar="F", help="the API server to drive")
    robots.add_argument("--dir", default=DIRECTORY, metavar="D", help="where pods keep their files")
    only = ",".join((*MACHINES, "leases"))
    robots.add_argument(
        "--only", default=only, metavar="NAMES", help=f"which robots (default: {only}; all: {', '.join(ALL_ROBOTS)})"
    )


def run(args: argparse.Namespace) -> int:
    if getattr(args, "faults", False):
        print(faults_help())
        return 0
    try:
        match args.action:
            case "up":
                return _up(args)
            case "down":
                return _down(Path(args.dir))
            case _:
                return _robots(args)
    except (ValueError, AlreadyRunning, BrokenState, OSError) as error:
        print(f"kaito local {args.action}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1


def parts(node_provisioner: Provisioner = "azure-gpu-provisioner") -> Parts:
    """The API server core, its HTTP face and the operator of an embedded cluster."""
    # Imported late: `kaito local down` needs neither the operator nor an HTTP server.
    from kaito.cli.operate import Options, operate
    from kaito.hub.endpoint import endpoint_of_environment
    from kaito.local.parts import RealParts

    settings = PlanSettings(node_provisioner=node_provisioner, benchmark=False, hub_endpoint=endpoint_of_environment())

    async def run_operator(kubeconfig: Path, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        # One name: a cluster that was killed, and comes up again with its state, does not wait for its own Lease.
        options = Options(kubeconfig, settings, journal_dir=kubeconfig.parent, identity="kaito-local")
        await operate(options, task_status=task_status)

    return RealParts(run_operator, settings)


class _Droppable:
    """A stream whose lines are lost where they cannot be written: a full disk must not fail what they tell of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


@contextmanager
def logs_in(directory: Path) -> Iterator[Path]:
    """What the cluster's parts and the operator say goes to a file of the directory, for as long as the block lasts."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / OPERATOR_LOG
    with path.open("w", buffering=1) as stream:
        set_up_logs("json", stream=cast(TextIO, _Droppable(stream)))
        try:
            yield path
        finally:
            set_up_logs()


# Up.


def _up(args: argparse.Namespace) -> int:
    directory = Path(args.dir or DIRECTORY)
    settings = cluster_settings(args, directory=directory, kubeconfig=directory / "kubeconfig")
    settings = replace(settings, has_operator=not args.no_operator, is_persistent=bool(args.dir))
    if args.detach:
        return _detach(sys.argv[1:], settings)
    with live_in(settings.directory), logs_in(settings.directory):
        status, _ = run_until_signal(partial(_serve, settings, args.node_provisioner))
    return status


async def _serve(settings: ClusterSettings, node_provisioner: Provisioner) -> int:
    async with local_cluster(settings, parts(node_provisioner)) as cluster:
        print(greeting(cluster, Path.cwd()), flush=True)
        _say_ready()
        await anyio.sleep_forever()
    return 0


def greeting(cluster: Cluster, here: Path) -> str:
    """What to do next, with paths as short as they can be."""
    kubeconfig = shown(cluster.settings.kubeconfig, here)
    lines = [
        f"The local cluster is up at {cluster.served.url}"
        + (", with the operator." if cluster.settings.has_operator else "."),
        f"  kubectl --kubeconfig {kubeconfig} apply -f examples/quickstart/workspace-phi-3.5-mini.yaml",
        f"  kubectl --kubeconfig {kubeconfig} get workspace -w",
        f"  kaito status --kubeconfig {kubeconfig}",
    ]
    stop_it = "Ctrl-C, or" if READY_FD not in os.environ else ""
    down = "kaito local down"
    if cluster.settings.is_persistent:
        down += f" --dir {shown(cluster.settings.directory, here)}"
    return "\n".join([*lines, f"  {stop_it} {down}".replace("   ", "  ").rstrip()])


def shown(path: Path, here: Path) -> str:
    """The path as one would type it from here."""
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _say_ready() -> None:
    if descriptor := os.environ.pop(READY_FD, ""):
        os.write(int(descriptor), b"up\n")
        os.close(int(descriptor))


def _detach(argv: Sequence[str], settings: ClusterSettings) -> int:
    """Starts the same command in a session of its own and waits until it is up."""
    directory = settings.directory
    make_folder(directory)
    command = [sys.executable, "-m", "kaito", *(word for word in argv if word != "--detach")]
    read_end, write_end = os.pipe()
    with (directory / LOG_FILE).open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {READY_FD: str(write_end)},
            pass_fds=(write_end,),
            start_new_session=True,
        )
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        is_up = pipe.read() == b"up\n"  # or nothing, when the process has ended
    text = (directory / LOG_FILE).read_text(errors="replace")
    if is_up:
        print(text, end="")
        return 0
    print("\n".join(text.splitlines()[-LOG_TAIL_LINES:]), file=sys.stderr)
    return process.wait() or 1


# Down.


def _down(directory: Path) -> int:
    if not stop(directory, timeout_s=STOP_TIMEOUT_S):
        print(f"no local cluster runs in {directory}")
        return 0
    print(f"the local cluster in {directory} is gone")
    return 0


# Robots beside another API server.


def _robots(args: argparse.Namespace) -> int:
    directory, kubeconfig = Path(args.dir), Path(args.kubeconfig)
    if not kubeconfig.is_file():
        raise ValueError(f"--kubeconfig {args.kubeconfig!r}: no such file")
    only = tuple(name.strip() for name in args.only.split(",") if name.strip())
    if unknown := [name for name in only if name not in ALL_ROBOTS]:
        raise ValueError(f"--only: unknown robots {', '.join(unknown)}; choose from {', '.join(ALL_ROBOTS)}")
    settings = cluster_settings(args, directory=directory / "robots", kubeconfig=kubeconfig)
    with live_in(settings.directory):
        status, _ = run_until_signal(partial(_drive, settings, only))
    return status


async def _drive(settings: ClusterSettings, only: tuple[str, ...]) -> int:
    client = await open_client(settings.kubeconfig)
    try:
        minor = (await client.discover()).minor
        # Addresses of loopback would end in Endpoints, which a real API server refuses.
        robots = replace(settings.robots, publish_addresses=False, cluster_minor=minor)
        print(
            f"driving {settings.kubeconfig} with {', '.join(only)} (Kubernetes 1.{minor}); Ctrl-C ends it", flush=True
        )
        kubelet = kubelet_of(settings)
        await run_robots(client, robots, now=wall_clock, rng=Random(), only=only, kubelet=kubelet)
    finally:
        with anyio.CancelScope(shield=True):
            await client.aclose()
    return 0
