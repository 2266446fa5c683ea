"""World: what the robots know of the cluster, and how they change it.

One cache, fed by the watch streams and shared by all robots. Every write waits until its own result has come back
through the watch (bounded), so that a robot's next look sees what it did: it never creates a pod twice because a stream
was slow.
Objects in the cache are shared: they are never changed in place.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

import anyio

from kaito.api.core import POD
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.clock import Clock
from kaito.kube.client import KubeClient
from kaito.kube.errors import NotFound
from kaito.state.events import Apply, Delete, Init, InitApply, InitDone, WatchEvent

OBSERVE_TIMEOUT_S = 10.0  # a write that has not come back by then is not waited for any longer
SEEN_MAX = 4_096  # resourceVersions remembered per kind

T = TypeVar("T")
Listener = Callable[[ResourceKind, Json | None, Json | None], None]


@dataclass(slots=True)
class Cached:
    """The objects of one kind. `seen`: the last resourceVersions; a write is observed when its own is among them."""

    objects: dict[ObjectRef, Json] = field(default_factory=dict)
    listing: dict[ObjectRef, Json] | None = None
    synced: anyio.Event = field(default_factory=anyio.Event)
    seen: OrderedDict[str, None] = field(default_factory=OrderedDict)
    lists: int = 0  # a list begun after a write contains it
    changed: anyio.Event = field(default_factory=anyio.Event)


class World:
    """The cache with its indices, and the writes. `rng` is the only source of chance, `now` the only clock."""

    def __init__(self, client: KubeClient, *, now: Clock, rng: Random, kinds: Iterable[ResourceKind] = ()) -> None:
        self.client = client
        self.now = now
        self._seed = rng.getrandbits(64)
        self._cached = {kind: Cached() for kind in kinds}
        self._owned: defaultdict[str, dict[tuple[ResourceKind, ObjectRef], None]] = defaultdict(dict)
        self._on_node: defaultdict[str, dict[ObjectRef, None]] = defaultdict(dict)
        self.listeners: list[Listener] = []

    # What is.

    def watch(self, kinds: Iterable[ResourceKind]) -> None:
        """Makes room for these kinds; nothing is in it before they are followed."""
        for kind in kinds:
            self._cached.setdefault(kind, Cached())

    @property
    def kinds(self) -> tuple[ResourceKind, ...]:
        return tuple(self._cached)

    def knows(self, kind: ResourceKind) -> bool:
        return kind in self._cached

    async def wait_synced(self, kinds: Iterable[ResourceKind]) -> None:
        for kind in kinds:
            await self._cached[kind].synced.wait()

    def get(self, kind: ResourceKind, namespace: str, name: str) -> Json | None:
        return self._cached[kind].objects.get(kind.ref(namespace, name))

    def find(self, kind: ResourceKind, ref: ObjectRef) -> Json | None:
        return self._cached[kind].objects.get(ref)

    def all(self, kind: ResourceKind, namespace: str = "") -> list[Json]:
        """The objects of a kind, in (namespace, name) order."""
        found = self._cached[kind].objects
        return [found[ref] for ref in sorted(found) if not namespace or ref.namespace == namespace]

    def owned(self, kind: ResourceKind, uid: str) -> list[Json]:
        """The objects of a kind whose controller has this uid, in name order."""
        refs = sorted(ref for of_kind, ref in self._owned.get(uid, ()) if of_kind == kind)
        return [self._cached[kind].objects[ref] for ref in refs]

    def pods_on(self, node: str) -> list[Json]:
        """The pods that are bound to a node, in (namespace, name) order."""
        return [self._cached[POD].objects[ref] for ref in sorted(self._on_node.get(node, ()))]

    def chance(self, *parts: str) -> Random:
        """A source of chance that depends on the seed and the parts alone, not on what else happens."""
        return Random("/".join((str(self._seed), *parts)))

    # What comes in.

    def receive(self, kind: ResourceKind, event: WatchEvent) -> None:
        """One watch event: cache, indices, listeners."""
        cached = self._cached[kind]
        match event:
            case Init():
                cached.listing = {}
            case InitApply(ref, obj):
                assert cached.listing is not None
                cached.listing[ref] = obj
            case InitDone():
                listed, cached.listing = cached.listing or {}, None
                for ref in [ref for ref in cached.objects if ref not in listed]:
                    self._replace(kind, ref, None)
                for ref, obj in listed.items():
                    self._replace(kind, ref, obj)
                cached.lists += 1
                cached.synced.set()
            case Apply(ref, obj):
                self._replace(kind, ref, obj)
            case Delete(ref, obj):
                self._remember(cached, obj)
                self._replace(kind, ref, None)
        changed, cached.changed = cached.changed, anyio.Event()
        changed.set()

    def _replace(self, kind: ResourceKind, ref: ObjectRef, obj: Json | None) -> None:
        cached = self._cached[kind]
        old = cached.objects.get(ref)
        if old is not None:
            self._index(kind, ref, old, add=False)
            del cached.objects[ref]
        if obj is not None:
            cached.objects[ref] = obj
            self._remember(cached, obj)
            self._index(kind, ref, obj, add=True)
        for listener in self.listeners:
            listener(kind, old, obj)

    def _index(self, kind: ResourceKind, ref: ObjectRef, obj: Json, *, add: bool) -> None:
        if owner := controller_of(obj):
            _toggle(self._owned, owner["uid"], (kind, ref), add)
        if kind == POD and (node := obj["spec"].get("nodeName")):
            _toggle(self._on_node, node, ref, add)

    @staticmethod
    def _remember(cached: Cached, obj: Json) -> None:
        cached.seen[obj["metadata"]["resourceVersion"]] = None
        if len(cached.seen) > SEEN_MAX:
            cached.seen.popitem(last=False)

    # What goes out.

    async def create(self, kind: ResourceKind, body: Json) -> Json:
        """POST; returns what the server made of it, once it is observed."""
        lists = self._lists(kind)
        made = await self.client.create(kind, body["metadata"].get("namespace", ""), body)
        await self._until(kind, lambda: self._is_seen(kind, made, lists))
        return made

    async def patch(self, kind: ResourceKind, obj: Json, patch: Json, *, subresource: str = "") -> Json:
        """Merge patch with the object's uid and resourceVersion as preconditions (`Conflict` when it has changed)."""
        meta = obj["metadata"]
        fences = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        body = patch | {"metadata": (patch.get("metadata") or {}) | fences}
        lists = self._lists(kind)
        ref = _ref(kind, obj)
        made = await self.client.merge_patch(kind, ref, body, subresource=subresource)
        # A patch that removes the last finalizer ends the object: its event is a deletion at a later version.
        await self._until(kind, lambda: self._is_seen(kind, made, lists) or self.find(kind, ref) is None)
        return made

    async def patch_status(self, kind: ResourceKind, obj: Json, status: Json) -> Json:
        """Merges into the status when that changes anything."""
        if is_merged(obj.get("status") or {}, status):
            return obj
        return await self.patch(kind, obj, {"status": status}, subresource="status")

    async def bind(self, pod: Json, node: str) -> None:
        """The scheduler's answer: the pod runs on that node."""
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": pod["metadata"]["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await self.client.create(POD, namespace, body, subresource="binding", name=name)
        await self._until(POD, lambda: _is_bound(self.find(POD, _ref(POD, pod)), pod))

    async def delete(self, kind: ResourceKind, obj: Json, *, grace_s: int | None = None) -> None:
        """DELETE of exactly this object; one that is gone already is fine."""
        ref, uid = _ref(kind, obj), obj["metadata"]["uid"]
        try:
            await self.client.delete(kind, ref, uid=uid, grace_s=grace_s)
        except NotFound:
            return
        await self._until(kind, lambda: _is_leaving(self.find(kind, ref), uid))

    def _lists(self, kind: ResourceKind) -> int:
        return self._cached[kind].lists if kind in self._cached else 0

    def _is_seen(self, kind: ResourceKind, made: Json, lists: int) -> bool:
        """Whether this state of the object, or a list that surely began after it, has come through the watch."""
        cached = self._cached[kind]
        return made["metadata"]["resourceVersion"] in cached.seen or cached.lists > lists + 1

    async def _until(self, kind: ResourceKind, is_met: Callable[[], bool]) -> None:
        cached = self._cached.get(kind)
        if cached is None:
            return
        with anyio.move_on_after(OBSERVE_TIMEOUT_S):
            while not is_met():
                await cached.changed.wait()


def controller_of(obj: Json) -> Json | None:
    """The owner reference of the object's controller."""
    owners: list[Json] = obj["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def is_merged(observed: Json, wanted: Json) -> bool:
    """Whether a JSON merge patch of `wanted` would leave `observed` as it is."""
    for key, value in wanted.items():
        old = observed.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if not is_merged(old, value):
                return False
        elif value is None:
            if key in observed:
                return False
        elif old != value:
            return False
    return True


def is_deleting(obj: Json) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def _is_leaving(found: Json | None, uid: str) -> bool:
    return found is None or found["metadata"]["uid"] != uid or is_deleting(found)


def _is_bound(found: Json | None, pod: Json) -> bool:
    is_other = found is None or found["metadata"]["uid"] != pod["metadata"]["uid"]
    return is_other or bool(found and found["spec"].get("nodeName"))


def _ref(kind: ResourceKind, obj: Json) -> ObjectRef:
    return kind.ref(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def _toggle(index: defaultdict[str, dict[T, None]], key: str, value: T, add: bool) -> None:
    if add:
        index[key][value] = None
    elif key in index:
        index[key].pop(value, None)
        if not index[key]:
            del index[key]
