"""The graph as it is now, from lists: for commands that explain a cluster without a running operator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec

from kaito.api.core import CONFIG_MAP, CUSTOM_RESOURCE_DEFINITION
from kaito.api.meta import Json, ObjectRef, ResourceKind, ResourceVersion, from_json
from kaito.kube.client import KubeClient, Scope
from kaito.kube.errors import Forbidden, NotFound
from kaito.settings import PlanSettings
from kaito.state.events import Apply, Init, InitApply, InitDone
from kaito.state.graph import StateGraph
from kaito.state.kinds import KindRow
from kaito.state.view import ServerCapabilities

SKU_FILE = CONFIG_MAP.ref(PlanSettings().release_namespace, PlanSettings().sku_config_map)


async def graph_around(client: KubeClient, namespace: str, *, over: Iterable[Json] = ()) -> StateGraph:
    """The roots of a namespace and all that their gates read; `over`: roots as they would be.

    Kinds that may not be listed stay unsynced; the planner names them.
    """
    discovery = await client.discover()
    graph = StateGraph()
    graph.capabilities = ServerCapabilities((discovery.major, discovery.minor))
    for kind, row in graph.rows.items():
        if row.by_name or kind == CUSTOM_RESOURCE_DEFINITION:  # discovery tells kinds
            continue
        served_as = row.served_as(discovery.has)
        if served_as is None:
            graph.mark_absent(kind)
            continue
        try:
            _fill(graph, kind, await _list(client, replace(row, kind=served_as), namespace))
        except (Forbidden, NotFound):
            continue
    for body in over:
        put(graph, body)
    for ref in {SKU_FILE, *graph.referenced()}:
        await look_up(client, graph, ref)
    return graph


def put(graph: StateGraph, body: Json) -> None:
    """One root, as the server would have stored it."""
    row = next(row for row in graph.rows.values() if row.kind.kind == body["kind"])
    metadata = body["metadata"]
    ref = row.kind.ref(metadata["namespace"], metadata["name"])
    graph.apply(row.kind, Apply(ref, row.decode(body) if row.decode else body))


def _fill(graph: StateGraph, kind: ResourceKind, objects: list[tuple[ObjectRef, Any]]) -> None:
    graph.apply(kind, Init())
    for ref, obj in objects:
        graph.apply(kind, InitApply(ref, obj))
    graph.apply(kind, InitDone(ResourceVersion("")))


async def _list(client: KubeClient, row: KindRow, namespace: str) -> list[tuple[ObjectRef, Any]]:
    """All pages of a list. Objects that do not decode are left out, as the operator's watchers do."""
    found: list[tuple[ObjectRef, Any]] = []
    scope = Scope(namespace if row.kind.namespaced else "", label_selector=row.label_selector)
    token = ""
    while True:
        page = msgspec.json.decode(await client.list_page(row.kind, scope, continue_=token))
        for item in page.get("items") or []:
            meta = item["metadata"]
            try:
                obj = from_json(item, row.wire)
            except msgspec.ValidationError:
                continue
            ref = row.kind.ref(meta.get("namespace", ""), meta["name"])
            found.append((ref, row.decode(obj) if row.decode else obj))
        token = (page.get("metadata") or {}).get("continue") or ""
        if not token:
            return found


async def look_up(client: KubeClient, graph: StateGraph, ref: ObjectRef) -> None:
    """An object of a kind that is read by its name."""
    kind = next(kind for kind in graph.rows if kind.kind == ref.kind)
    try:
        found = from_json(await client.read(kind, ref), graph.rows[kind].wire)
    except NotFound:
        found = None
    except Forbidden:
        return
    graph.apply_named(kind, ref, found)
