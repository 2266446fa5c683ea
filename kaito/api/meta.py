"""What every Kubernetes object shares: its kind, its identity, its metadata and its conditions.

Foreign kinds are partial `msgspec.Struct`s (only the fields that a decision reads); they are decoded on the hot path of
the watch streams. They hold no reference cycles, so they are kept out of the garbage collector (`gc=False`).
"""

from __future__ import annotations

from typing import Any, NamedTuple, NewType, TypeAlias, TypeVar

import msgspec

Json: TypeAlias = dict[str, Any]  # a decoded JSON object, as sent to and received from the API server
NOTHING = msgspec.Raw(b"{}")
Wire = TypeVar("Wire")

ResourceVersion = NewType("ResourceVersion", str)
"""Opaque: it is compared for equality only, never parsed or ordered."""


class ResourceKind(NamedTuple):
    """One served kind. `group` is empty for the core group; `version` is the one we speak."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """`v1` or `apps/v1`: the `apiVersion` of an object of this kind."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The REST path of the collection (no name), of an object or of its subresource."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(parts)

    def ref(self, namespace: str, name: str) -> ObjectRef:
        return ObjectRef(self.kind, namespace if self.namespaced else "", name)


class ObjectRef(NamedTuple):
    """Identity of an object within the watched world; `namespace` is empty for cluster-scoped kinds.

    Kinds that we watch have distinct `kind` names, so the group is not part of the key. The uid is a precondition of
    writes, not a key.
    """

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        path = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind.lower()}/{path}"


class OwnerReference(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class ObjectMeta(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The part of `metadata` that decisions read. Times are RFC 3339 strings, as sent by the server."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()

    def label(self, key: str) -> str | None:
        return self.labels.get(key) if self.labels else None

    def annotation(self, key: str) -> str | None:
        return self.annotations.get(key) if self.annotations else None


class Whole(msgspec.Struct, frozen=True, gc=False):
    """An object whose `spec` is compared as a whole, and seldom: it is kept as its JSON text.

    That is a fifth of the memory of what is in it (`python -m benchmarks.operator`), and nothing is decoded that nobody
    reads. `spec` is decoded each time; two texts that differ in spaces or order count as different.
    """

    metadata: ObjectMeta = ObjectMeta()
    spec_json: msgspec.Raw = msgspec.field(name="spec", default=NOTHING)

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "spec_json", self.spec_json.copy())  # or the whole line stays with it

    @property
    def spec(self) -> Json:
        return decoded_text(self.spec_json)


def decoded_text(text: msgspec.Raw | bytes) -> Json:
    """The object that a kept JSON text says; empty where it says null, or is no object."""
    found = msgspec.json.decode(text)
    return found if isinstance(found, dict) else {}


def from_json(raw: Json, wire: type[Wire]) -> Wire:
    """What a watch line with this object is decoded to. Raises msgspec.ValidationError."""
    return msgspec.json.decode(msgspec.json.encode(raw), type=wire, strict=False)


class Condition(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """metav1.Condition and its older relatives; `status` is `True`, `False` or `Unknown`."""

    type: str = ""
    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    observed_generation: int | None = None


def condition(conditions: tuple[Condition, ...], type_: str) -> Condition | None:
    """The condition of this type, or None where the object does not carry it."""
    for item in conditions:  # asked some 20 times a plan: a generator would cost twice as much
        if item.type == type_:
            return item
    return None
