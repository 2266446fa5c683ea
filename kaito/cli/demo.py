"""`kaito demo`: from nothing to a model's answer on this machine, with every stage on the way."""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random

import anyio
import yaml

from kaito.api.core import SERVICE
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.workspace import WORKSPACE
from kaito.cli.cluster_arguments import add_cluster_arguments, cluster_settings, faults_help
from kaito.cli.demo_answers import show_answers, show_table
from kaito.cli.demo_screen import Screen, screen_for
from kaito.cli.demo_talk import NoAnswer
from kaito.cli.demo_view import chain, has_failed, is_ready, stages_of
from kaito.cli.local import DIRECTORY, logs_in, parts, shown
from kaito.cli.signals import run_until_signal
from kaito.clock import wall_clock
from kaito.kube.client import Scope
from kaito.kube.errors import ApiError
from kaito.local.cluster import Cluster, local_cluster
from kaito.local.cluster_settings import ClusterSettings
from kaito.local.kubelet.service_proxy import address_of
from kaito.local.persist import BrokenState
from kaito.local.presence import AlreadyRunning, live_in
from kaito.local.robots.watching import follow
from kaito.state.events import Apply, Delete, InitApply, WatchEvent

EXAMPLE = "examples/quickstart/workspace-phi-3.5-mini.yaml"
DEADLINE_S = 170.0  # the promise is three minutes for everything
FAILED_GRACE_S = 20.0  # a failure that nobody mends in so long is one
ADDRESS_TIMEOUT_S = 10.0


class NotReady(Exception):
    """The Workspace has not come up: why, as the chain of its causes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_cluster_arguments(parser)
    parser.add_argument("--once", action="store_true", help="exit after the answers: 0, or not 0 with the causal chain")
    parser.add_argument(
        "--dir", metavar="D", help="keep everything there (default: a temporary folder, removed at the end)"
    )
    parser.add_argument(
        "--file", default=EXAMPLE, metavar="YAML", help=f"the Workspace to bring up (default: {EXAMPLE})"
    )
    parser.add_argument("--plain", action="store_true", help="append-only lines even on a terminal")


def run(args: argparse.Namespace) -> int:
    if args.faults:
        print(faults_help())
        return 0
    try:
        with live_in(Path(DIRECTORY).resolve()), tempfile.TemporaryDirectory(prefix="kaito-demo-") as temporary:
            directory = Path(args.dir) if args.dir else Path(temporary)
            settings = cluster_settings(args, directory=directory, kubeconfig=Path(DIRECTORY) / "kubeconfig")
            settings = replace(settings, is_persistent=bool(args.dir))
            objects = load_objects(Path(args.file))
            with logs_in(directory):
                status, was_told = run_until_signal(partial(_demo, settings, objects, args))
        print("Everything is gone: no process, port or file is left." if was_told or args.once else "", flush=True)
    except (ValueError, AlreadyRunning, BrokenState, OSError) as error:
        print(f"kaito demo: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    finally:
        _remove_if_empty(Path(DIRECTORY))
    return status


def load_objects(path: Path) -> list[Json]:
    """The objects of a YAML file. Raises ValueError."""
    try:
        found = [one for one in yaml.safe_load_all(path.read_text()) if one is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"--file {str(path)!r}: {error}") from error
    for one in found:
        if not isinstance(one, dict) or not isinstance(one.get("metadata"), dict) or not one["metadata"].get("name"):
            raise ValueError(f"--file {str(path)!r}: expected Kubernetes objects with metadata.name")
    workspaces = [one for one in found if one.get("kind") == WORKSPACE.kind]
    if len(workspaces) != 1 or len(found) != 1:
        raise ValueError(f"--file {str(path)!r}: expected one Workspace, found {len(found)} objects")
    return found


async def _demo(settings: ClusterSettings, objects: list[Json], args: argparse.Namespace) -> int:
    screen = screen_for(sys.stdout, is_plain=args.plain)
    screen.say(f"Starting a local cluster (Kubernetes 1.{settings.minor}) and the operator …")
    async with local_cluster(settings, parts()) as cluster:
        screen.say(f"API server at {cluster.served.url}; applying {args.file}")
        try:
            workspace = await _bring_up(cluster, objects[0], screen)
            await show_table(cluster, workspace, screen)
            if settings.pods == "real":
                await show_answers(await _service_address(cluster, workspace), screen)
            else:
                screen.say("\nPods are instant here: no model server runs that could answer.")
        except (NotReady, NoAnswer, ApiError) as error:
            screen.say(f"\nThe demo failed: {error}")
            if args.once:
                return 1
        if not args.once:
            screen.say(_commands(cluster, objects[0]))
            await anyio.sleep_forever()
    return 0


# The way up.


@dataclass(slots=True)
class Latest:
    """The Workspace as the watch last told it."""

    ref: ObjectRef
    workspace: Json = field(default_factory=dict)
    changed: anyio.Event = field(default_factory=anyio.Event)

    def take(self, _: ResourceKind, event: WatchEvent) -> None:
        match event:
            case InitApply(ref, obj) | Apply(ref, obj) if ref == self.ref:
                self.workspace = obj
            case Delete(ref, _) if ref == self.ref:
                self.workspace = {}
            case _:
                return
        changed, self.changed = self.changed, anyio.Event()
        changed.set()


async def _bring_up(cluster: Cluster, body: Json, screen: Screen) -> Json:
    """Creates the Workspace and shows its way until it is ready. Raises NotReady."""
    namespace = body["metadata"].get("namespace") or "default"
    made = await cluster.client.create(WORKSPACE, namespace, body)
    latest = Latest(WORKSPACE.ref(namespace, made["metadata"]["name"]), made)
    async with anyio.create_task_group() as tasks:
        scope = Scope(namespace)
        tasks.start_soon(partial(follow, cluster.client, WORKSPACE, latest.take, rng=Random(), scope=scope))
        with screen.live(lambda: stages_of(latest.workspace or made)):
            came_up = await _wait_ready(latest, screen)
        tasks.cancel_scope.cancel()
    if not came_up:
        words = "\n".join(chain(latest.workspace, wall_clock())) if latest.workspace else "it was deleted"
        raise NotReady(f"the Workspace is not ready\n{words}")
    return latest.workspace


async def _wait_ready(latest: Latest, screen: Screen) -> bool:
    """Whether it is ready, within the deadline, and within the grace once it has failed."""
    deadline, failed_until = anyio.current_time() + DEADLINE_S, float("inf")
    while not is_ready(latest.workspace):
        changed = latest.changed
        screen.show()
        failing = has_failed(latest.workspace)
        failed_until = min(failed_until, anyio.current_time() + FAILED_GRACE_S) if failing else float("inf")
        with anyio.move_on_at(min(deadline, failed_until)) as scope:
            await changed.wait()
        if scope.cancelled_caught:
            return False
    screen.show()
    return True


async def _service_address(cluster: Cluster, workspace: Json) -> str:
    """Where the Workspace's Service answers on this machine. Raises NotReady."""
    meta = workspace["metadata"]
    with anyio.move_on_after(ADDRESS_TIMEOUT_S):
        while True:
            service = await cluster.client.read(SERVICE, SERVICE.ref(meta["namespace"], meta["name"]))
            if address := address_of(service):
                return address
            await anyio.sleep(0.1)
    raise NotReady(f"Service {meta['name']} listens nowhere on this machine")


def _commands(cluster: Cluster, workspace: Json) -> str:
    name, kubeconfig = workspace["metadata"]["name"], shown(cluster.settings.kubeconfig, Path.cwd())
    kubectl = f"kubectl --kubeconfig {kubeconfig}"
    proxy = f"/api/v1/namespaces/default/services/{name}:80/proxy/v1/models"
    return "\n".join(
        (
            "",
            "Go on in another terminal:",
            f"  {kubectl} get workspace,nodeclaim,node,pod",
            f"  {kubectl} describe workspace {name}",
            f"  {kubectl} logs -f {name}-0",
            f"  {kubectl} get --raw {proxy}",
            f"  kaito explain workspace/{name} --kubeconfig {kubeconfig}",
            "Ctrl-C ends everything.",
        )
    )


def _remove_if_empty(directory: Path) -> None:
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
