"""ListedView: a ClusterView over objects that were listed once, for commands that need no running operator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from kaito.api.core import CONFIG_MAP, NODE, POD, SERVICE, ConfigMap, Node, Pod, Service
from kaito.api.meta import ObjectRef, ResourceKind
from kaito.api.names import LABEL_WORKSPACE, LABEL_WORKSPACE_NAMESPACE
from kaito.api.nodeclaim import NODE_CLAIM, NodeClaim
from kaito.api.workloads import STATEFUL_SET, StatefulSet
from kaito.kube.client import KubeClient, Scope
from kaito.kube.errors import Forbidden, NotFound
from kaito.state.view import Answer, InvalidObject, ServerCapabilities

# What the gates of a Workspace read → how it is decoded.
LISTED: dict[ResourceKind, Any] = {
    NODE_CLAIM: NodeClaim,
    NODE: Node,
    POD: Pod,
    SERVICE: Service,
    STATEFUL_SET: StatefulSet,
    CONFIG_MAP: ConfigMap,
}


@dataclass(slots=True)
class ListedView:
    """`unsynced`: kinds that the server would not list for us; `absent`: kinds that it does not have."""

    roots_by_ref: dict[ObjectRef, Any] = field(default_factory=dict)
    objects: dict[ObjectRef, Any] = field(default_factory=dict)
    capabilities: ServerCapabilities = field(default_factory=ServerCapabilities)
    unsynced: set[ResourceKind] = field(default_factory=set)
    absent: set[ResourceKind] = field(default_factory=set)

    def is_synced(self, kind: ResourceKind) -> bool:
        return kind not in self.unsynced

    def is_absent(self, kind: ResourceKind) -> bool:
        return kind in self.absent

    def root(self, ref: ObjectRef) -> Any | InvalidObject | None:
        return self.roots_by_ref.get(ref)

    def roots(self, kind: ResourceKind) -> tuple[Any | InvalidObject, ...]:
        return tuple(self.roots_by_ref[ref] for ref in sorted(self.roots_by_ref) if ref.kind == kind.kind)

    def claims_of(self, root: ObjectRef) -> tuple[NodeClaim, ...]:
        return tuple(claim for claim in self._all(NODE_CLAIM) if _has_pair(claim, root))

    def claim(self, name: str) -> NodeClaim | None:
        return self.objects.get(NODE_CLAIM.ref("", name))

    def node_of(self, claim: NodeClaim) -> Node | None:
        if claim.status.node_name:
            return self.objects.get(NODE.ref("", claim.status.node_name))
        provider_id = claim.status.provider_id
        return next((n for n in self._all(NODE) if provider_id and n.spec.provider_id == provider_id), None)

    def nodes_of(self, root: ObjectRef) -> tuple[Node, ...]:
        found = {node.metadata.name: node for node in self._all(NODE) if _has_pair(node, root)}
        found |= {node.metadata.name: node for claim in self.claims_of(root) if (node := self.node_of(claim))}
        return tuple(found[name] for name in sorted(found))

    def nodes(self, match_labels: dict[str, str]) -> tuple[Node, ...]:
        wanted = match_labels.items()
        return tuple(node for node in self._all(NODE) if wanted <= (node.metadata.labels or {}).items())

    def stateful_set(self, root: ObjectRef) -> StatefulSet | None:
        return self.objects.get(STATEFUL_SET.ref(root.namespace, root.name))

    def service(self, namespace: str, name: str) -> Service | None:
        return self.objects.get(SERVICE.ref(namespace, name))

    def pods_of(self, root: ObjectRef) -> tuple[Pod, ...]:
        mine = [pod for pod in self._all(POD) if pod.metadata.label(LABEL_WORKSPACE) == root.name]
        return tuple(sorted(mine, key=lambda pod: (len(pod.metadata.name), pod.metadata.name)))

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        return self.objects.get(CONFIG_MAP.ref(namespace, name))

    def is_synced_ref(self, kind: ResourceKind, namespace: str, name: str) -> bool:
        return kind not in self.unsynced

    def answer(self, root: ObjectRef, key: str) -> Answer | None:
        return None

    def _all(self, kind: ResourceKind) -> list[Any]:
        return [self.objects[ref] for ref in sorted(self.objects) if ref.kind == kind.kind]


def _has_pair(item: Node | NodeClaim, root: ObjectRef) -> bool:
    pair = (item.metadata.label(LABEL_WORKSPACE), item.metadata.label(LABEL_WORKSPACE_NAMESPACE))
    return pair == (root.name, root.namespace)


async def list_world(client: KubeClient, namespace: str, config_map: str = "") -> ListedView:
    """Everything that concerns the Workspaces of one namespace. `config_map`: the only ConfigMap that is read."""
    discovery = await client.discover()
    view = ListedView(capabilities=ServerCapabilities((discovery.major, discovery.minor)))
    for kind, type_ in LISTED.items():
        scope = Scope(namespace if kind.namespaced else "")
        if kind is CONFIG_MAP:
            if not config_map:
                continue
            scope = Scope(namespace, field_selector=f"metadata.name={config_map}")
        if not discovery.has(kind):
            view.absent.add(kind)
            continue
        try:
            for item in await _list(client, kind, type_, scope):
                view.objects[kind.ref(item.metadata.namespace, item.metadata.name)] = item
        except (Forbidden, NotFound):
            view.unsynced.add(kind)
    return view


async def _list(client: KubeClient, kind: ResourceKind, type_: Any, scope: Scope) -> list[Any]:
    """All pages of a list. Objects that do not decode are left out: they cannot concern us."""
    found: list[Any] = []
    token = ""
    while True:
        page = msgspec.json.decode(await client.list_page(kind, scope, continue_=token))
        for item in page.get("items") or []:
            try:
                found.append(msgspec.convert(item, type_, strict=False))
            except msgspec.ValidationError:
                continue
        token = (page.get("metadata") or {}).get("continue") or ""
        if not token:
            return found
