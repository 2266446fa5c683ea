"""Heartbeats: the Lease of each machine of ours, which tells a real control plane that its kubelet lives."""

from __future__ import annotations

from collections.abc import Iterable

from kaito.api.core import LEASE, NAMESPACE, NODE
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.kube.errors import AlreadyExists, NotFound
from kaito.local.robots.machine_node import CLAIM_ANNOTATION, is_ours
from kaito.local.robots.settings import RobotSettings
from kaito.local.robots.world import World, is_deleting

LEASE_NAMESPACE = "kube-node-lease"


class Leases:
    name = "leases"
    kinds: tuple[ResourceKind, ...] = (NODE,)

    def __init__(self, world: World, settings: RobotSettings) -> None:
        self._world = world
        self._settings = settings

    def keys(self, kind: ResourceKind, old: Json | None, new: Json | None) -> Iterable[ObjectRef]:
        if new is not None and old is None and is_ours(new):
            yield NODE.ref("", new["metadata"]["name"])

    async def reconcile(self, key: ObjectRef) -> float | None:
        node = self._world.find(NODE, key)
        if node is None or is_deleting(node):
            return None
        claim = (node["metadata"].get("annotations") or {}).get(CLAIM_ANNOTATION) or ""
        if not self._settings.fault("node-not-ready", key.name, claim):
            await self._renew(node)
        return self._settings.lease_period_s

    async def _renew(self, node: Json) -> None:
        name, period_s = node["metadata"]["name"], self._settings.lease_period_s
        moment = self._world.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": name, "leaseDurationSeconds": round(period_s * 4), "renewTime": moment}
        client = self._world.client
        try:
            await client.merge_patch(LEASE, LEASE.ref(LEASE_NAMESPACE, name), {"spec": spec})
        except NotFound:
            body = {
                "apiVersion": LEASE.api_version,
                "kind": LEASE.kind,
                "metadata": {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [_owner(node)]},
                "spec": spec,
            }
            try:
                await client.create(LEASE, LEASE_NAMESPACE, body)
            except NotFound:
                await self._create_namespace()
                await client.create(LEASE, LEASE_NAMESPACE, body)

    async def _create_namespace(self) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LEASE_NAMESPACE}}
        try:
            await self._world.client.create(NAMESPACE, "", body)
        except AlreadyExists:
            return


def _owner(node: Json) -> Json:
    return {
        "apiVersion": NODE.api_version,
        "kind": NODE.kind,
        "name": node["metadata"]["name"],
        "uid": node["metadata"]["uid"],
    }
