"""Core: what reading, writing and deleting share: the store, what is served, the strategy, who is asked, the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from kaito.api.meta import Json
from kaito.clock import rfc3339
from kaito.local.apiserver import errors
from kaito.local.apiserver.collector import NAMESPACE_KIND
from kaito.local.apiserver.json_values import copied, json_patched
from kaito.local.apiserver.registry import Registry, Resource
from kaito.local.apiserver.store import Store
from kaito.local.apiserver.strategy import Strategy


class Admission(NamedTuple):
    """What an admission plugin says: the metav1.Status of a refusal, and warnings for the one who writes."""

    denial: Json | None = None
    warnings: tuple[str, ...] = ()


Admit: TypeAlias = Callable[[str, Resource, Json | None, Json], Admission]  # operation, resource, old, new


class Core:
    """`warnings`: of the last call. `mutations`: JSON patches that admission makes to the next object written."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        strategy: Strategy,
        *,
        now: Callable[[], datetime],
        new_uid: Callable[[], str],
        admit: Sequence[Admit],
    ) -> None:
        self.store, self.registry, self.strategy = store, registry, strategy
        self.now, self.new_uid = now, new_uid
        self.warnings: list[str] = []
        self.mutations: list[Json] = []
        self._admit = tuple(admit)
        self.settle: Callable[[], None] = lambda: None  # the collector's: what follows from a change

    def time(self) -> str:
        return rfc3339(self.now())

    def out(self, resource: Resource, obj: Json) -> Json:
        """A copy for whoever asked, in the version asked for."""
        result: Json = copied(obj)
        result["apiVersion"] = resource.api_version
        return result

    def find(self, resource: Resource, namespace: str, name: str) -> Json:
        """The stored object. Raises StatusError 404."""
        obj = self.store.get(resource.key, (namespace, name))
        if obj is None:
            raise errors.not_found(resource.plural, resource.group, name)
        return obj

    def mutated(self, new: Json) -> Json:
        """The object as mutating webhooks want it."""
        return json_patched(new, self.mutations) if self.mutations else new

    def ask(self, resource: Resource, operation: str, old: Json | None, new: Json) -> None:
        """Asks the rules that were given at the start. Raises StatusError with what they say."""
        for admit in self._admit:
            answer = admit(operation, resource, copied(old), copied(new))
            self.warnings += answer.warnings
            if answer.denial is not None:
                raise errors.denied(f"validation.{resource.kind.lower()}.kaito.sh", answer.denial)

    def check_namespace(self, resource: Resource, namespace: str) -> None:
        """Raises StatusError: objects are made in namespaces that exist and stay."""
        if not resource.namespaced:
            return
        found = self.store.get(NAMESPACE_KIND, ("", namespace))
        if found is None:
            raise errors.not_found("namespaces", "", namespace)
        if found["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise errors.forbidden(resource.plural, resource.group, "", why)


def read_body(resource: Resource, namespace: str, body: Any) -> Json:
    """A copy of a request's body with its kind and namespace filled in. Raises StatusError 400."""
    if not isinstance(body, dict):
        raise errors.bad_request(f"the body must be a JSON object, not {type(body).__name__}")
    obj: Json = copied(body)
    expected = (resource.api_version, resource.kind)
    check_kind({"apiVersion": expected[0], "kind": expected[1]} | obj, expected)
    obj["apiVersion"], obj["kind"] = expected
    if not isinstance(obj.setdefault("metadata", {}), dict):
        raise errors.bad_request("metadata must be an object")
    if not resource.namespaced:
        obj["metadata"].pop("namespace", None)
    elif obj["metadata"].setdefault("namespace", namespace) != namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    return obj


def check_kind(obj: Json, expected: tuple[str, str]) -> None:
    """Raises StatusError 400 when it is an object of another version and kind than these."""
    given = (obj.get("apiVersion"), obj.get("kind"))
    if given != expected:
        raise errors.bad_request(
            f"the API version in the data ({given[0]}, kind {given[1]}) does not match the expected API version "
            f"({expected[0]}, kind {expected[1]})"
        )


def check_name(obj: Json, name: str) -> None:
    """Raises StatusError 400 when the body names another object than the URL."""
    if not isinstance(obj.get("metadata"), dict):
        obj["metadata"] = {}
    if obj["metadata"].get("name") != name:
        given = obj["metadata"].get("name", "")
        raise errors.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")


def check_preconditions(resource: Resource, obj: Json, wanted: Json, *, is_delete: bool = False) -> None:
    """Raises StatusError 409 when uid or resourceVersion are others than wanted."""
    metadata = obj["metadata"]
    if wanted.get("uid") and wanted["uid"] != metadata["uid"]:
        raise errors.uid_mismatch(resource.plural, resource.group, metadata["name"], wanted["uid"], metadata["uid"])
    if wanted.get("resourceVersion") and wanted["resourceVersion"] != metadata["resourceVersion"]:
        if is_delete:
            raise errors.conflict(
                resource.plural, resource.group, metadata["name"],
                f"Precondition failed: ResourceVersion in precondition: {wanted['resourceVersion']}, "
                f"ResourceVersion in object meta: {metadata['resourceVersion']}",
            )  # fmt: skip
        raise errors.stale(resource.plural, resource.group, metadata["name"])


def check_patched_uid(resource: Resource, old: Json, new: Json) -> None:
    """A PUT's uid is a precondition (409); a patch's is an immutable field (422), looked at after the version."""
    before, after = old["metadata"], new["metadata"]
    is_current = after.get("resourceVersion") in (None, "", before["resourceVersion"])
    if is_current and after.get("uid", before["uid"]) != before["uid"]:
        cause = errors.invalid_value("metadata.uid", after["uid"], "field is immutable")
        raise errors.invalid(resource.kind, resource.group, before["name"], [cause])
    after.pop("uid", None)


def is_same(old: Json, new: Json) -> bool:
    """Whether the objects differ in their resourceVersion alone."""

    def bare(obj: Json) -> Json:
        return obj | {"metadata": {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"}}

    return bare(old) == bare(new)
