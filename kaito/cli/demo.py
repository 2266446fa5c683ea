"""`kaito demo`: from nothing to a model's answer on this machine, with every stage on the way.

With a RAGEngine beside the Workspace: to an answer with its sources in a folder of text.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import yaml

from kaito.api.meta import Json
from kaito.api.ragengine import RAGENGINE
from kaito.api.workspace import WORKSPACE
from kaito.cli.cluster_arguments import add_cluster_arguments, cluster_settings, faults_help
from kaito.cli.demo_answers import show_answers, show_table
from kaito.cli.demo_docs import documents_of
from kaito.cli.demo_rag import QUESTION, show_sources
from kaito.cli.demo_screen import Screen, screen_for
from kaito.cli.demo_talk import NoAnswer
from kaito.cli.demo_way import KINDS, NotReady, bring_up, service_address
from kaito.cli.local import DIRECTORY, logs_in, parts, shown
from kaito.cli.signals import run_until_signal
from kaito.kube.errors import ApiError
from kaito.local.cluster import Cluster, local_cluster
from kaito.local.cluster_settings import ClusterSettings
from kaito.local.persist import BrokenState
from kaito.local.presence import AlreadyRunning, live_in

EXAMPLE = "examples/quickstart/workspace-phi-3.5-mini.yaml"
DOCS = "docs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_cluster_arguments(parser)
    parser.add_argument("--once", action="store_true", help="exit after the answers: 0, or not 0 with the causal chain")
    parser.add_argument(
        "--dir", metavar="D", help="keep everything there (default: a temporary folder, removed at the end)"
    )
    parser.add_argument(
        "--file", default=EXAMPLE, metavar="YAML", help=f"a Workspace, and a RAGEngine if you like (default: {EXAMPLE})"
    )
    parser.add_argument("--docs", default=DOCS, metavar="D", help=f"what the RAGEngine is to index (default: {DOCS})")
    parser.add_argument("--question", default=QUESTION, metavar="TEXT", help="what it is asked")
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
            documents = documents_of(Path(args.docs)) if _kinds(objects) == set(KINDS) else []
            with logs_in(directory):
                status, was_told = run_until_signal(partial(_demo, settings, objects, documents, args))
        print("Everything is gone: no process, port or file is left." if was_told or args.once else "", flush=True)
    except (ValueError, AlreadyRunning, BrokenState, OSError) as error:
        print(f"kaito demo: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    finally:
        _remove_if_empty(Path(DIRECTORY))
    return status


def load_objects(path: Path) -> list[Json]:
    """A Workspace, and perhaps a RAGEngine, of a YAML file. Raises ValueError."""
    try:
        found = [one for one in yaml.safe_load_all(path.read_text()) if one is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"--file {str(path)!r}: {error}") from error
    for one in found:
        if not isinstance(one, dict) or not isinstance(one.get("metadata"), dict) or not one["metadata"].get("name"):
            raise ValueError(f"--file {str(path)!r}: expected Kubernetes objects with metadata.name")
    kinds = sorted(str(one.get("kind")) for one in found)
    if kinds not in ([WORKSPACE.kind], [RAGENGINE.kind, WORKSPACE.kind]):
        seen = ", ".join(kinds) or "nothing"
        raise ValueError(f"--file {str(path)!r}: expected a Workspace, and at most a RAGEngine beside it, found {seen}")
    return found


def _kinds(objects: Sequence[Json]) -> set[str]:
    return {str(one["kind"]) for one in objects}


async def _demo(
    settings: ClusterSettings, objects: Sequence[Json], documents: Sequence[Json], args: argparse.Namespace
) -> int:
    screen = screen_for(sys.stdout, is_plain=args.plain)
    screen.say(f"Starting a local cluster (Kubernetes 1.{settings.minor}) and the operator …")
    async with local_cluster(settings, parts()) as cluster:
        screen.say(f"API server at {cluster.served.url}; applying {args.file}")
        try:
            roots = await bring_up(cluster, objects, screen)
            for root in roots:
                await show_table(cluster, root, screen)
            await _show_answers(cluster, roots, documents, args.question, screen)
        except (NotReady, NoAnswer, ApiError) as error:
            screen.say(f"\nThe demo failed: {error}")
            if args.once:
                return 1
        if not args.once:
            screen.say(_commands(cluster, objects))
            await anyio.sleep_forever()
    return 0


async def _show_answers(
    cluster: Cluster, roots: Sequence[Json], documents: Sequence[Json], question: str, screen: Screen
) -> None:
    """What users come for: answers of the model server, or of the retrieval service in front of it."""
    if cluster.settings.pods != "real":
        screen.say("\nPods are instant here: no model server runs that could answer.")
        return
    address = await service_address(cluster, roots[-1])
    if documents:
        await show_sources(address, documents, question, screen)
    else:
        await show_answers(address, screen)


def _commands(cluster: Cluster, objects: Sequence[Json]) -> str:
    kubeconfig = shown(cluster.settings.kubeconfig, Path.cwd())
    kubectl = f"kubectl --kubeconfig {kubeconfig}"
    names = {one["kind"]: one["metadata"]["name"] for one in objects}
    name, kinds = names[WORKSPACE.kind], ",".join(kind.lower() for kind in KINDS if kind in names)
    proxy = f"/api/v1/namespaces/default/services/{name}:80/proxy/v1/models"
    explained = [
        f"  kaito explain {kind.lower()}/{names[kind]} --kubeconfig {kubeconfig}" for kind in KINDS if kind in names
    ]
    return "\n".join(
        (
            "",
            "Go on in another terminal:",
            f"  {kubectl} get {kinds},nodeclaim,node,pod",
            f"  {kubectl} describe workspace {name}",
            f"  {kubectl} logs -f {name}-0",
            f"  {kubectl} get --raw {proxy}",
            *explained,
            "Ctrl-C ends everything.",
        )
    )


def _remove_if_empty(directory: Path) -> None:
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
