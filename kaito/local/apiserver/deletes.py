"""Deletes: grace, finalizers, propagation; an object ends when nothing keeps it any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from kaito.api.meta import Json
from kaito.clock import rfc3339
from kaito.local.apiserver.collector import FOREGROUND, NAMESPACE_KIND
from kaito.local.apiserver.core import Core, check_preconditions, is_same
from kaito.local.apiserver.errors import forbidden
from kaito.local.apiserver.json_values import copied
from kaito.local.apiserver.registry import Resource
from kaito.local.apiserver.store import Kind, Place

IMMORTAL = frozenset(("default", "kube-public", "kube-system"))  # as the real server's NamespaceLifecycle admission


class Deletes:
    """`rewrite` changes an object without asking anybody."""

    def __init__(self, core: Core, rewrite: Callable[[Kind, Place, Json], None]) -> None:
        self._core, self._rewrite = core, rewrite

    def delete(self, resource: Resource, namespace: str, name: str, options: Json, *, dry_run: bool) -> Json:
        """The object while something keeps it, else a Status of success."""
        core = self._core
        obj = core.find(resource, namespace, name)
        if resource.key == NAMESPACE_KIND and name in IMMORTAL:
            raise forbidden(resource.plural, resource.group, name, "this namespace may not be deleted")
        check_preconditions(resource, obj, options.get("preconditions") or {}, is_delete=True)
        if not dry_run:
            policy = options.get("propagationPolicy") or ("Orphan" if options.get("orphanDependents") else "Background")
            self.begin(resource.key, (namespace, name), policy, options.get("gracePeriodSeconds"))
            core.settle()
        left = core.store.get(resource.key, (namespace, name))
        if left is not None and left["metadata"]["uid"] == obj["metadata"]["uid"]:
            return core.out(resource, left)
        details: Json = {"name": name, "kind": resource.plural, "uid": obj["metadata"]["uid"]}
        if resource.group:
            details["group"] = resource.group
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def begin(self, kind: Kind, place: Place, policy: str, grace_s: int | None = None) -> None:
        """Marks the object as being deleted, or ends it at once."""
        core = self._core
        obj = core.store.get(kind, place)
        if obj is None:
            return
        new = copied(obj)
        metadata = new["metadata"]
        if policy == "Orphan":
            self._orphan(metadata["uid"])
        if policy == "Foreground" and FOREGROUND not in (metadata.get("finalizers") or ()):
            metadata["finalizers"] = [*(metadata.get("finalizers") or ()), FOREGROUND]
        grace = core.strategy.grace_s(kind, new, grace_s)
        before = metadata.get("deletionGracePeriodSeconds")
        if metadata.get("deletionTimestamp") is None or (before is not None and grace < before):
            metadata["deletionTimestamp"] = rfc3339(core.now() + timedelta(seconds=grace))
            metadata["deletionGracePeriodSeconds"] = grace
            if "generation" in metadata:
                metadata["generation"] += 1
            if kind == NAMESPACE_KIND:
                new["status"] = {**(new.get("status") or {}), "phase": "Terminating"}
        if core.strategy.is_over(kind, new):
            core.store.put(kind, place, None)
        elif not is_same(obj, new):
            core.store.put(kind, place, new)

    def _orphan(self, uid: str) -> None:
        for kind, place in self._core.store.dependants(uid):
            new = copied(self._core.store.get(kind, place))
            owners = [owner for owner in new["metadata"]["ownerReferences"] if owner["uid"] != uid]
            new["metadata"]["ownerReferences"] = owners
            self._rewrite(kind, place, new)
