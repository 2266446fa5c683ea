"""Karpenter's static capacity: as many NodeClaims as a NodePool's `spec.replicas` says, made from its template."""

from __future__ import annotations

from collections.abc import Iterable

from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.names import LABEL_NODE_POOL
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.nodepool import NODE_POOL
from kaito.local.robots.settings import RobotSettings
from kaito.local.robots.status import condition, is_condition_true, with_conditions
from kaito.local.robots.world import World, is_deleting

FINALIZER = "karpenter.sh/termination"
SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes' own for generated names


class NodePools:
    name = "nodepools"
    kinds: tuple[ResourceKind, ...] = (NODE_POOL, NODE_CLAIM)

    def __init__(self, world: World, settings: RobotSettings) -> None:
        self._world = world
        self._settings = settings
        self._made = 0

    def keys(self, kind: ResourceKind, old: Json | None, new: Json | None) -> Iterable[ObjectRef]:
        meta = (new or old or {})["metadata"]
        if kind == NODE_POOL:
            yield NODE_POOL.ref("", meta["name"])
        elif pool := (meta.get("labels") or {}).get(LABEL_NODE_POOL):
            yield NODE_POOL.ref("", pool)

    async def reconcile(self, key: ObjectRef) -> float | None:
        pool = self._world.find(NODE_POOL, key)
        if pool is None:
            return None
        claims = self._claims(key.name)
        if is_deleting(pool):
            await self._release(pool, claims)
            return None
        finalizers = pool["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            pool = await self._world.patch(NODE_POOL, pool, {"metadata": {"finalizers": [*finalizers, FINALIZER]}})
        await self._scale(pool, [claim for claim in claims if not is_deleting(claim)])
        await self._say_ready(pool)
        return None

    def _claims(self, pool: str) -> list[Json]:
        claims = self._world.all(NODE_CLAIM)
        return [claim for claim in claims if (claim["metadata"].get("labels") or {}).get(LABEL_NODE_POOL) == pool]

    async def _scale(self, pool: Json, live: list[Json]) -> None:
        wanted = int(pool["spec"].get("replicas") or 0)
        for _ in range(wanted - len(live)):
            await self._world.create(NODE_CLAIM, self._claim(pool))
        for claim in sorted(live, key=_progress)[: max(0, len(live) - wanted)]:
            await self._world.delete(NODE_CLAIM, claim)

    async def _say_ready(self, pool: Json) -> None:
        existing = (pool.get("status") or {}).get("conditions") or []
        stages = (condition(type_) for type_ in ("ValidationSucceeded", "NodeClassReady", "Ready"))
        conditions = with_conditions(existing, *stages, now=self._world.now())
        await self._world.patch_status(NODE_POOL, pool, {"conditions": conditions})

    def _claim(self, pool: Json) -> Json:
        """A claim from the pool's template. Its name is random, as Karpenter's are: nobody may rely on it."""
        self._made += 1
        meta, template = pool["metadata"], pool["spec"]["template"]
        chance = self._world.chance("nodepools", meta["uid"], str(self._made))
        labels = template.get("metadata", {}).get("labels") or {}
        spec = template["spec"]
        in_pool = {"key": LABEL_NODE_POOL, "operator": "In", "values": [meta["name"]]}
        return {
            "apiVersion": NODE_CLAIM.api_version,
            "kind": NODE_CLAIM.kind,
            "metadata": {
                "name": f"{meta['name']}-" + "".join(chance.choices(SUFFIX_ALPHABET, k=5)),
                "labels": labels | {LABEL_NODE_POOL: meta["name"]},
                "annotations": dict(template.get("metadata", {}).get("annotations") or {}),
                "ownerReferences": [_owner(pool)],
            },
            "spec": spec | {"requirements": [*spec.get("requirements", []), in_pool]},
        }

    async def _release(self, pool: Json, claims: list[Json]) -> None:
        for claim in claims:
            if not is_deleting(claim):
                await self._world.delete(NODE_CLAIM, claim)
        finalizers = pool["metadata"].get("finalizers") or []
        if not claims and FINALIZER in finalizers:
            kept = [finalizer for finalizer in finalizers if finalizer != FINALIZER]
            await self._world.patch(NODE_POOL, pool, {"metadata": {"finalizers": kept or None}})


def _progress(claim: Json) -> tuple[int, str]:
    """The least advanced goes first."""
    stages = ("Launched", "Registered", "Initialized")
    return (sum(is_condition_true(claim, stage) for stage in stages), claim["metadata"]["name"])


def _owner(pool: Json) -> Json:
    return {
        "apiVersion": NODE_POOL.api_version,
        "kind": NODE_POOL.kind,
        "name": pool["metadata"]["name"],
        "uid": pool["metadata"]["uid"],
        "blockOwnerDeletion": True,
    }
