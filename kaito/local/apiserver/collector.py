"""Collector: what follows from a change: owner references, foreground deletion, emptying namespaces and kinds.

The real server leaves this to controllers that act a moment later; here it is settled before the call returns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from kaito.api.meta import Json
from kaito.local.apiserver.registry import Registry, Resource
from kaito.local.apiserver.store import Commit, Kind, Place, Store

FOREGROUND = "foregroundDeletion"
CRD_CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
CRD_KIND: Kind = ("apiextensions.k8s.io", "customresourcedefinitions")
NAMESPACE_KIND: Kind = ("", "namespaces")


class Collector:
    """Told of every commit; `settle` then works off what it implies.

    `delete` starts the deletion of an object, `write` replaces one, `complain` records OwnerRefInvalidNamespace.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        *,
        delete: Callable[[Kind, Place, str], None],
        write: Callable[[Kind, Place, Json], None],
        complain: Callable[[Resource, Json, Json], None],
    ) -> None:
        self._store, self._registry = store, registry
        self._delete, self._write, self._complain = delete, write, complain
        self._pending: deque[tuple[Kind, Place]] = deque()
        self._is_settling = False
        self._complained: set[tuple[str, str]] = set()

    def hear(self, commit: Commit) -> None:
        kind, place = commit.kind, commit.place
        obj = commit.new or commit.old
        assert obj is not None
        metadata = obj["metadata"]
        if commit.new is None or metadata.get("deletionTimestamp"):
            self._pending.extend(self._store.dependants(metadata["uid"]))
            self._pending.extend(self._owners(metadata))
        if commit.new is None and place[0]:
            self._pending.append((NAMESPACE_KIND, ("", place[0])))
        if commit.new is None:
            self._pending.append((CRD_KIND, ("", f"{kind[1]}.{kind[0]}")))
        elif metadata.get("ownerReferences") or metadata.get("deletionTimestamp"):
            self._pending.append((kind, place))

    def _owners(self, metadata: Json) -> list[tuple[Kind, Place]]:
        found = (self._store.of_uid(owner["uid"]) for owner in metadata.get("ownerReferences") or ())
        return [place for place in found if place is not None]

    def settle(self) -> None:
        """Works until nothing follows from anything any more."""
        if self._is_settling:
            return
        self._is_settling = True
        try:
            while self._pending:
                self._look(*self._pending.popleft())
        finally:
            self._is_settling = False

    def _look(self, kind: Kind, place: Place) -> None:
        obj = self._store.get(kind, place)
        if obj is None:
            return
        if obj["metadata"].get("deletionTimestamp"):
            self._finish(kind, place, obj)
        else:
            self._collect(kind, place, obj)

    def _finish(self, kind: Kind, place: Place, obj: Json) -> None:
        if kind == NAMESPACE_KIND:
            self._empty_namespace(place, obj)
        elif kind == CRD_KIND:
            self._empty_kind(place, obj)
        elif FOREGROUND in (obj["metadata"].get("finalizers") or ()):
            self._foreground(kind, place, obj)

    def _empty_namespace(self, place: Place, obj: Json) -> None:
        is_empty = True
        for kind in sorted(self._store.objects):
            for inner in sorted(self._store.objects[kind]):
                if inner[0] == place[1]:
                    is_empty = False
                    found = self._store.get(kind, inner)
                    if found is not None and not found["metadata"].get("deletionTimestamp"):
                        self._delete(kind, inner, "Background")
        if is_empty and (obj.get("spec") or {}).get("finalizers"):
            self._write(NAMESPACE_KIND, place, obj | {"spec": {}})

    def _empty_kind(self, place: Place, obj: Json) -> None:
        kind = (obj["spec"]["group"], obj["spec"]["names"]["plural"])
        instances = sorted(self._store.objects.get(kind, {}))
        for inner in instances:
            found = self._store.get(kind, inner)
            if found is not None and not found["metadata"].get("deletionTimestamp"):
                self._delete(kind, inner, "Background")
        if not self._store.objects.get(kind):
            self._without_finalizer(CRD_KIND, place, CRD_CLEANUP)

    def _foreground(self, kind: Kind, place: Place, obj: Json) -> None:
        is_blocked = False
        for of_kind, at in self._store.dependants(obj["metadata"]["uid"]):
            dependant = self._store.get(of_kind, at)
            if dependant is None or not self._is_valid(of_kind, at, dependant, obj["metadata"]["uid"]):
                continue
            if not dependant["metadata"].get("deletionTimestamp"):
                self._delete(of_kind, at, "Foreground")
            owners = dependant["metadata"]["ownerReferences"]
            blocks = any(o["uid"] == obj["metadata"]["uid"] and o.get("blockOwnerDeletion") for o in owners)
            is_blocked |= blocks and self._store.get(of_kind, at) is not None
        if not is_blocked:
            self._without_finalizer(kind, place, FOREGROUND)

    def _without_finalizer(self, kind: Kind, place: Place, name: str) -> None:
        obj = self._store.get(kind, place)
        if obj is None or name not in (obj["metadata"].get("finalizers") or ()):
            return
        kept = [item for item in obj["metadata"]["finalizers"] if item != name]
        self._write(kind, place, obj | {"metadata": obj["metadata"] | {"finalizers": kept}})

    def _collect(self, kind: Kind, place: Place, obj: Json) -> None:
        """Deletes the object when every owner that it names is gone; drops single dead references."""
        owners = obj["metadata"].get("ownerReferences") or []
        if not owners:
            return
        alive: list[Json] = []
        gone: list[Json] = []
        for owner in owners:
            (gone if self._is_gone(kind, place, obj, owner) else alive).append(owner)
        if not gone:
            return
        if alive:
            self._write(kind, place, obj | {"metadata": obj["metadata"] | {"ownerReferences": alive}})
        else:
            self._delete(kind, place, "Background")

    def _is_gone(self, kind: Kind, place: Place, obj: Json, owner: Json) -> bool:
        group = owner["apiVersion"].rpartition("/")[0]
        resource = self._registry.of_kind(group, owner["kind"])
        if resource is None:
            return False  # unknown kinds may come back: nothing is collected for them
        if resource.namespaced and not place[0]:
            self._invalid_owner(kind, obj, owner)
            return False
        found = self._store.of_uid(owner["uid"])
        if found is None:
            return True
        at_kind, at = found
        return at_kind != resource.key or at != (place[0] if resource.namespaced else "", owner["name"])

    def _is_valid(self, kind: Kind, place: Place, dependant: Json, uid: str) -> bool:
        found = self._store.of_uid(uid)
        return found is not None and found[1][0] in ("", place[0])

    def _invalid_owner(self, kind: Kind, obj: Json, owner: Json) -> None:
        known = (obj["metadata"]["uid"], owner["uid"])
        resource = self._registry.of_key(kind)
        if known not in self._complained and resource is not None:
            self._complained.add(known)
            self._complain(resource, obj, owner)
