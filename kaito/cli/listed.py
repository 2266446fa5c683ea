"""The graph as it is now, from lists: for commands that explain a cluster without a running operator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from kaito.api.core import CONFIG_MAP, CUSTOM_RESOURCE_DEFINITION
from kaito.api.meta import Json, ObjectRef, ResourceKind, ResourceVersion
from kaito.api.workspace import WORKSPACE
from kaito.kube.client import KubeClient, Scope
from kaito.kube.errors import Forbidden, NotFound
from kaito.settings import PlanSettings
from kaito.state.events import Init, InitApply, InitDone
from kaito.state.graph import StateGraph
from kaito.state.kinds import KindRow, decode_workspace
from kaito.state.view import ServerCapabilities

SKU_FILE = CONFIG_MAP.ref(PlanSettings().release_namespace, PlanSettings().sku_config_map)
NOT_LISTED = (WORKSPACE, CONFIG_MAP, CUSTOM_RESOURCE_DEFINITION)  # one Workspace, one ConfigMap; discovery tells kinds


async def graph_around(client: KubeClient, ref: ObjectRef, body: Json) -> StateGraph:
    """One Workspace and all that its gates read. Kinds that may not be listed stay unsynced; the planner names them."""
    discovery = await client.discover()
    graph = StateGraph()
    graph.capabilities = ServerCapabilities((discovery.major, discovery.minor))
    _fill(graph, WORKSPACE, [(ref, decode_workspace(body))])
    for kind, row in graph.rows.items():
        if kind in NOT_LISTED:
            continue
        served_as = row.served_as(discovery.has)
        if served_as is None:
            graph.mark_absent(kind)
            continue
        try:
            _fill(graph, kind, await _list(client, replace(row, kind=served_as), ref.namespace))
        except (Forbidden, NotFound):
            continue
    for config in (SKU_FILE, *_config_of(ref, body)):
        await _look_up(client, graph, config)
    return graph


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
                found.append((row.kind.ref(meta.get("namespace", ""), meta["name"]), msgspec.convert(item, row.wire)))
            except msgspec.ValidationError:
                continue
        token = (page.get("metadata") or {}).get("continue") or ""
        if not token:
            return found


async def _look_up(client: KubeClient, graph: StateGraph, config: ObjectRef) -> None:
    """A ConfigMap by its name; one that may not be read stays unknown."""
    try:
        found = msgspec.convert(await client.read(CONFIG_MAP, config), graph.rows[CONFIG_MAP].wire)
    except NotFound:
        found = None
    except Forbidden:
        return
    graph.apply_named(CONFIG_MAP, config, found)


def _config_of(ref: ObjectRef, body: Json) -> list[ObjectRef]:
    """The ConfigMap that the Workspace names, if it names one."""
    inference = body.get("inference")
    name = str(inference.get("config") or "") if isinstance(inference, dict) else ""
    return [CONFIG_MAP.ref(ref.namespace, name)] if name else []
