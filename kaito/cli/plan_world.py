"""The world that `kaito plan` plans in: the files over nothing, or over what a cluster has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache

import msgspec

from kaito.api.core import CONFIG_MAP, ConfigMap
from kaito.api.crds import inference_set_crd, ragengine_crd, workspace_crd
from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.names import FINALIZERS
from kaito.api.ragengine import RAGENGINE
from kaito.api.workspace import WORKSPACE
from kaito.cli.listed import SKU_FILE, graph_around, look_up, put
from kaito.cli.plan_files import BESIDE_KINDS, Document
from kaito.clock import rfc3339
from kaito.kube.client import KubeClient
from kaito.kube.errors import ApiError, NotFound
from kaito.local.apiserver.schema import apply_defaults, drop_nulls, prune
from kaito.plan.merge import applied
from kaito.plan.validate import NothingKnown
from kaito.state.events import Init, InitDone
from kaito.state.graph import StateGraph
from kaito.state.graph_view import GraphView
from kaito.state.view import Answer, ClusterView

CRDS = {WORKSPACE.kind: workspace_crd, INFERENCE_SET.kind: inference_set_crd, RAGENGINE.kind: ragengine_crd}
UID_TO_BE = "00000000-0000-0000-0000-000000000000"  # the server gives one


@dataclass(slots=True)
class World:
    """One namespace as it would be after `kubectl apply` of the documents.

    `live`: what the cluster has of the documents. `stored`: the roots as the server will keep them. `unknown`: fields
    that no schema knows. `found`: what is known of what pods ask for: its keys, or None where it is not there.
    """

    graph: StateGraph
    documents: tuple[Document, ...]
    is_offline: bool
    live: dict[ObjectRef, Json] = field(default_factory=dict)
    stored: dict[ObjectRef, Json] = field(default_factory=dict)
    unknown: dict[ObjectRef, list[str]] = field(default_factory=dict)
    found: dict[ObjectRef, frozenset[str] | None] = field(default_factory=dict)

    @property
    def view(self) -> GraphView:
        return GraphView(self.graph)


class FilesOnly(NothingKnown):
    """What rules may know without a cluster: the ConfigMaps of the files."""

    def __init__(self, view: ClusterView) -> None:
        self._view = view

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        return self._view.config_map(namespace, name)

    def is_synced_ref(self, kind: ResourceKind, namespace: str, name: str) -> bool:
        return kind == CONFIG_MAP and self.config_map(namespace, name) is not None

    def answer(self, root: ObjectRef, key: str) -> Answer | None:
        return self._view.answer(root, key)


def offline(documents: Sequence[Document], now: datetime) -> World:
    """A cluster with nothing in it but these documents."""
    graph = StateGraph()
    for kind, row in graph.rows.items():
        if not row.by_name:
            graph.apply(kind, Init())
            graph.apply(kind, InitDone("0"))  # type: ignore[arg-type]
    graph.apply_named(CONFIG_MAP, SKU_FILE, None)
    world = World(graph, tuple(documents), is_offline=True)
    for document in documents:
        if document.is_root:
            put(graph, _stored(world, document, now))
    _put_beside(world, documents)
    for ref in {*graph.referenced(), *_template_configs(documents)} - graph.looked_up:
        graph.apply_named(CONFIG_MAP, ref, None)
    return world


async def against(
    client: KubeClient, documents: Sequence[Document], beside: Sequence[Document], now: datetime
) -> World:
    """The documents' namespace as the cluster has it, with them as they would be. `beside`: those of all namespaces."""
    world = World(StateGraph(), tuple(documents), is_offline=False)
    for document in documents:
        try:
            world.live[document.ref] = await client.read(document.kind, document.ref)
        except NotFound:
            continue
    over = [_stored(world, document, now) for document in documents if document.is_root]
    (namespace,) = {document.ref.namespace for document in documents}
    world.graph = await graph_around(client, namespace, over=over)
    for ref in _template_configs(documents) - world.graph.looked_up:
        await look_up(client, world.graph, ref)
    _put_beside(world, beside)
    return world


async def look_for(client: KubeClient, world: World, refs: Iterable[ObjectRef]) -> None:
    """Learns which of the Secrets, ConfigMaps and claims there are. What may not be read stays unknown."""
    for ref in sorted(set(refs) - world.found.keys()):
        try:
            world.found[ref] = keys_of(await client.read(BESIDE_KINDS[ref.kind], ref))
        except NotFound:
            world.found[ref] = None
        except ApiError:
            continue


def keys_of(body: Json) -> frozenset[str]:
    """The keys of a Secret or ConfigMap."""
    parts = (body.get(part) for part in ("data", "stringData", "binaryData"))
    return frozenset(key for part in parts if isinstance(part, dict) for key in part)


@cache
def _schema(kind: str, version: str) -> Json:
    """openAPIV3Schema of a kind of ours."""
    (found,) = (each for each in CRDS[kind]()["spec"]["versions"] if each["name"] == version)
    schema: Json = found["schema"]["openAPIV3Schema"]
    return schema


def _stored(world: World, document: Document, now: datetime) -> Json:
    """The document as the server would store it, with what the operator adds: merged, defaulted, guarded."""
    ref, live = document.ref, world.live.get(document.ref)
    schema = _schema(document.kind.kind, document.body["apiVersion"].rpartition("/")[2])
    world.unknown[ref] = prune(deepcopy(document.body), schema)
    written = {key: value for key, value in document.body.items() if key != "status"}
    body: Json = deepcopy(applied(live, written) if live else written)
    drop_nulls(body, schema)
    prune(body, schema)
    apply_defaults(body, schema)
    ours = FINALIZERS[document.kind.kind]
    if live is None:
        body["metadata"] |= {
            "uid": UID_TO_BE,
            "resourceVersion": "0",
            "generation": 1,
            "creationTimestamp": rfc3339(now),
        }
    body["metadata"]["finalizers"] = list(dict.fromkeys((*(body["metadata"].get("finalizers") or ()), ours)))
    world.stored[ref] = body
    return body


def _put_beside(world: World, documents: Sequence[Document]) -> None:
    """The ConfigMaps of the files, and the keys of all that pods may ask for."""
    wire = world.graph.rows[CONFIG_MAP].wire
    for document in documents:
        if document.is_root:
            continue
        world.found[document.ref] = keys_of(document.body)
        if document.kind == CONFIG_MAP:
            try:
                body = msgspec.convert(document.body, wire, strict=False)
            except msgspec.ValidationError as error:
                raise ValueError(f"{document.source}: {document.ref}: {error}") from error
            world.graph.apply_named(CONFIG_MAP, document.ref, body)


def _template_configs(documents: Iterable[Document]) -> set[ObjectRef]:
    """ConfigMaps that the replicas of InferenceSets will name."""
    found = set()
    for document in documents:
        if document.kind == INFERENCE_SET:
            template = (document.body.get("spec") or {}).get("template") or {}
            if name := (template.get("inference") or {}).get("config"):
                found.add(CONFIG_MAP.ref(document.ref.namespace, str(name)))
    return found
