"""The world that `kaito plan` plans in: the files over nothing, or over what a cluster has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from kaito.api.core import CONFIG_MAP, ConfigMap
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.names import FINALIZERS
from kaito.api.workspace import WORKSPACE
from kaito.cli.listed import SKU_FILE, graph_around, put
from kaito.clock import rfc3339
from kaito.kube.client import KubeClient
from kaito.kube.errors import NotFound
from kaito.plan.validate import NothingKnown
from kaito.state.events import Init, InitDone
from kaito.state.graph import StateGraph
from kaito.state.view import ClusterView

UID_TO_BE = "00000000-0000-0000-0000-000000000000"  # the server gives one
FILE_BYTES_MAX = 4 << 20


def read_files(paths: Iterable[Path]) -> tuple[list[Json], list[Json], list[str]]:
    """Workspaces, ConfigMaps and warnings about what else is there. Raises ValueError that names the file."""
    workspaces: list[Json] = []
    config_maps: list[Json] = []
    warnings: list[str] = []
    for path in paths:
        for number, document in enumerate(_documents(path), start=1):
            where = f"{path}, document {number}"
            if not isinstance(document, dict) or not isinstance(document.get("metadata"), dict):
                raise ValueError(f"{where}: expected a Kubernetes object with kind and metadata")
            if not document["metadata"].get("name"):
                raise ValueError(f"{where}: metadata.name is missing: give the object a name")
            match document.get("kind"):
                case WORKSPACE.kind:
                    workspaces.append(document)
                case CONFIG_MAP.kind:
                    config_maps.append(document)
                case other:
                    warnings.append(f"{where}: {other} is left out: only Workspaces and their ConfigMaps are planned")
    if not workspaces:
        raise ValueError(f"no Workspace in {', '.join(map(str, paths))}")
    return workspaces, config_maps, warnings


def _documents(path: Path) -> list[Any]:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ValueError(f"{path}: more than {FILE_BYTES_MAX >> 20} MiB")
        return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error


class FilesOnly(NothingKnown):
    """What rules may know without a cluster: the ConfigMaps of the files."""

    def __init__(self, view: ClusterView) -> None:
        self._view = view

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        return self._view.config_map(namespace, name)

    def is_synced_ref(self, kind: ResourceKind, namespace: str, name: str) -> bool:
        return kind == CONFIG_MAP and self.config_map(namespace, name) is not None


def ref_of(body: Json) -> ObjectRef:
    return WORKSPACE.ref(str(body["metadata"].get("namespace") or "default"), str(body["metadata"]["name"]))


def offline(body: Json, config_maps: Iterable[Json], now: datetime) -> StateGraph:
    """A cluster with nothing in it but this Workspace, as the server would have stored it."""
    graph = StateGraph()
    for kind, row in graph.rows.items():
        if not row.by_name:
            graph.apply(kind, Init())
            graph.apply(kind, InitDone("0"))  # type: ignore[arg-type]
    put(graph, _stored(body, None, now))
    graph.apply_named(CONFIG_MAP, SKU_FILE, None)
    _put_config_maps(graph, config_maps)
    return graph


async def against(
    client: KubeClient, body: Json, config_maps: Iterable[Json], now: datetime
) -> tuple[StateGraph, Json | None]:
    """The cluster as it is, with this Workspace as it would be after `kubectl apply`; and the one that it has."""
    ref = ref_of(body)
    try:
        live: Json | None = await client.read(WORKSPACE, ref)
    except NotFound:
        live = None
    stored = _stored(body, live, now)
    graph = await graph_around(client, ref.namespace, over=[stored])
    _put_config_maps(graph, config_maps)
    return graph, live


def _stored(body: Json, live: Json | None, now: datetime) -> Json:
    """The file's object with what the server and the operator add: identity, finalizer, status."""
    ref = ref_of(body)
    written = body["metadata"]
    if live is None:
        metadata: Json = {
            "uid": UID_TO_BE,
            "resourceVersion": "0",
            "generation": 1,
            "creationTimestamp": rfc3339(now),
            "finalizers": [FINALIZERS[WORKSPACE.kind]],
        }
    else:
        metadata = dict(live["metadata"])
        ours = FINALIZERS[WORKSPACE.kind]
        metadata["finalizers"] = list(dict.fromkeys((*(metadata.get("finalizers") or ()), ours)))
    for key in ("labels", "annotations"):
        if merged := {**(metadata.get(key) or {}), **_texts(written.get(key))}:
            metadata[key] = merged
    status = {} if live is None else {"status": live.get("status") or {}}
    return body | {"metadata": metadata | {"name": ref.name, "namespace": ref.namespace}} | status


def _texts(found: object) -> Mapping[str, str]:
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _put_config_maps(graph: StateGraph, bodies: Iterable[Json]) -> None:
    """Those of the files; of the others that are referred to, that they are not there (unless a cluster has them)."""
    wire = graph.rows[CONFIG_MAP].wire
    for body in bodies:
        namespace = str(body["metadata"].get("namespace") or "default")
        ref = CONFIG_MAP.ref(namespace, str(body["metadata"]["name"]))
        graph.apply_named(CONFIG_MAP, ref, msgspec.convert(body, wire, strict=False))
    for ref in graph.referenced() - graph.looked_up:
        graph.apply_named(CONFIG_MAP, ref, None)
