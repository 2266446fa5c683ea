"""Who has which of the user's nodes, where several Workspaces may use the same ones.

Everybody gets the same answer from the same view: who runs already comes first, then the older, then by name. In that
order each takes all the nodes that it needs, or none; those that it does not take, a later one may use. So two
Workspaces of two nodes each never hold one node of each other's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kaito.api.core import Node
from kaito.api.meta import ObjectRef
from kaito.api.workspace import Workspace
from kaito.plan.roots import root_meta
from kaito.plan.sizing import Sizing, size_workspace
from kaito.plan.snapshot import is_node_ready
from kaito.plan.stock import Demand
from kaito.settings import PlanSettings
from kaito.state.edges import selector_of
from kaito.state.view import ClusterView


@dataclass(slots=True)
class _Devices:
    """What is left of a node: its free devices, and who has taken of them."""

    free: int
    takers: list[ObjectRef] = field(default_factory=list)

    def has_room(self, wanted: int) -> bool:
        """A node whose devices are not known yet (its plugin is still starting) belongs to the first who takes it."""
        return not wanted or not self.takers or self.free >= wanted


def rivals_on(view: ClusterView, demand: Demand, nodes: Sequence[Node], settings: PlanSettings) -> dict[str, ObjectRef]:
    """Node name → the Workspace that has it, for the nodes that are not left for the demander."""
    me = demand.claimant.ref
    members = _members(view, nodes)
    others = [ws for ws in members if ws.ref != me and not ws.metadata.deletion_timestamp]
    if not others:
        return {}
    mine = next((ws for ws in members if ws.ref == me), None)
    left: dict[str, _Devices] = {}
    for ws in sorted(others, key=lambda ws: _rank(view, ws)):
        if mine is not None and _rank(view, ws) > _rank(view, mine):
            break
        _take(view, ws, size_workspace(view, root_meta(ws), ws, settings), left)
    return {
        node.metadata.name: found.takers[0]
        for node in nodes
        if (found := left.get(node.metadata.name)) is not None and not found.has_room(demand.gpus_per_pod)
    }


def _members(view: ClusterView, nodes: Sequence[Node]) -> list[Workspace]:
    """The Workspaces that share these nodes, those that share their other nodes, and so on."""
    found: dict[ObjectRef, Workspace] = {}
    seen: set[str] = set()
    queue = list(nodes)
    while queue:
        node = queue.pop()
        if node.metadata.name in seen:
            continue
        seen.add(node.metadata.name)
        for ws in view.workspaces_on(node):
            if ws.ref not in found:
                found[ws.ref] = ws
                queue += view.nodes(selector_of(ws))
    return [found[ref] for ref in sorted(found)]


def _rank(view: ClusterView, ws: Workspace) -> tuple[bool, str, ObjectRef]:
    return (view.stateful_set(ws.ref) is None, ws.metadata.creation_timestamp, ws.ref)


def _take(view: ClusterView, ws: Workspace, sizing: Sizing, left: dict[str, _Devices]) -> None:
    """Gives the Workspace its nodes: where its pods are first, then the preferred, then by name."""
    wanted = sizing.gpus_per_pod
    used = {pod.spec.node_name for pod in view.pods_of(ws.ref) if pod.spec.node_name}
    preferred = set(ws.resource.preferred_nodes)
    nodes = view.nodes(selector_of(ws))
    for node in nodes:
        left.setdefault(node.metadata.name, _Devices(_offered(node, sizing.gpu_resource)))
    able = [node for node in nodes if node.metadata.name in used or left[node.metadata.name].has_room(wanted)]
    able.sort(key=lambda n: (n.metadata.name not in used, not is_node_ready(n), n.metadata.name not in preferred))
    if sizing.nodes is None or (len(able) < sizing.nodes and not used):
        return
    for node in able[: max(sizing.nodes, len(used))] if wanted else ():
        devices = left[node.metadata.name]
        devices.free -= wanted
        devices.takers.append(ws.ref)


def _offered(node: Node, resource: str) -> int:
    text = node.status.allocatable.get(resource, "")
    return int(text) if text.isdecimal() else 0
