"""Writes: create, update, patch, apply, bind. Each ends in one commit, or in none."""

from __future__ import annotations

from typing import Any

from kaito.api.meta import Json
from kaito.local.apiserver import errors, ownership
from kaito.local.apiserver.collector import CRD_KIND
from kaito.local.apiserver.core import (
    Core,
    check_kind,
    check_name,
    check_patched_uid,
    check_preconditions,
    is_same,
    read_body,
)
from kaito.local.apiserver.custom import establish
from kaito.local.apiserver.json_values import copied, json_patched, merged
from kaito.local.apiserver.ownership import Writer
from kaito.local.apiserver.registry import Resource
from kaito.local.apiserver.scaling import as_scale, set_replicas
from kaito.local.apiserver.store import Kind, Place
from kaito.local.apiserver.strategic import strategic_merged

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class Writes:
    """`dry_run` goes all the way but the last step; `field_validation`: Ignore, Warn or Strict."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def create(
        self, resource: Resource, namespace: str, body: Json, writer: Writer, dry_run: bool, field_validation: str
    ) -> Json:
        obj = read_body(resource, namespace, body)
        self._core.check_namespace(resource, namespace)
        if obj["metadata"].get("resourceVersion"):
            raise errors.internal("resourceVersion should not be set on objects to be created")
        self._core.strategy.name(obj["metadata"])
        return self._create(resource, namespace, obj, writer, dry_run, field_validation)

    def _create(
        self, resource: Resource, namespace: str, obj: Json, writer: Writer, dry_run: bool, field_validation: str
    ) -> Json:
        core = self._core
        place = (namespace, obj["metadata"].get("name", ""))
        is_applied = writer.operation == "Apply"
        core.warnings += core.strategy.decode(resource, obj, field_validation, is_applied=is_applied)
        obj["metadata"] |= {"uid": core.new_uid(), "creationTimestamp": core.time()}
        core.strategy.prepare_create(resource, obj)
        obj = core.mutated(obj)
        causes = core.strategy.causes(resource, obj, None)
        if causes:
            raise errors.invalid(resource.kind, resource.group, place[1], causes)
        if core.store.get(resource.key, place) is not None:
            raise errors.already_exists(resource.plural, resource.group, place[1])
        core.ask(resource, "CREATE", None, obj)
        if resource.key == CRD_KIND:
            establish(obj, core.time())
        if not is_applied:
            ownership.own_update(None, obj, writer, resource.schema, core.time())
        if dry_run:
            return core.out(resource, obj)
        made = core.store.put(resource.key, place, obj)
        core.settle()
        return core.out(resource, made)

    def update(
        self, resource: Resource, namespace: str, name: str, body: Json, writer: Writer, dry_run: bool,
        field_validation: str,
    ) -> Json:  # fmt: skip
        old = self._core.find(resource, namespace, name)
        if writer.subresource == "scale":
            check_preconditions(resource, old, body.get("metadata") or {})
            return self._scale(resource, old, body, writer, dry_run, field_validation)
        new = read_body(resource, namespace, body)
        check_name(new, name)
        return self._core.out(resource, self._replace(resource, old, new, writer, dry_run, field_validation))

    def _scale(
        self, resource: Resource, old: Json, scale: Json, writer: Writer, dry_run: bool, field_validation: str
    ) -> Json:
        new = set_replicas(resource, old, (scale.get("spec") or {}).get("replicas", 0))
        return as_scale(resource, self._replace(resource, old, new, writer, dry_run, field_validation))

    def patch(
        self, resource: Resource, namespace: str, name: str, body: Any, content_type: str, writer: Writer,
        dry_run: bool, field_validation: str,
    ) -> Json:  # fmt: skip
        old = self._core.find(resource, namespace, name)
        is_scale = writer.subresource == "scale"
        shown = as_scale(resource, old) if is_scale else self._core.out(resource, old)
        new = _patched(resource, shown, body, content_type)
        check_kind(new, (shown["apiVersion"], shown["kind"]))
        if is_scale:
            check_preconditions(resource, old, new["metadata"])
            return self._scale(resource, old, new, writer, dry_run, field_validation)
        check_name(new, name)
        made = self._replace(resource, old, new, writer, dry_run, field_validation, is_patch=True)
        return self._core.out(resource, made)

    def apply(
        self, resource: Resource, namespace: str, name: str, body: Any, writer: Writer, *, force: bool, dry_run: bool,
        field_validation: str,
    ) -> Json:  # fmt: skip
        core = self._core
        config = read_body(resource, namespace, body)
        metadata = config["metadata"]
        if metadata.get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        metadata.setdefault("name", name)
        check_name(config, name)
        live = core.store.get(resource.key, (namespace, name))
        core.strategy.check_applied(resource, config)
        if live is None:
            return self._apply_new(resource, namespace, name, config, writer, dry_run, field_validation)
        check_preconditions(resource, live, {"resourceVersion": metadata.get("resourceVersion")})
        base = copied(live)
        base["apiVersion"] = resource.api_version
        new = ownership.applied(base, config, writer, resource.schema, core.time(), force=force)
        made = self._replace(resource, live, new, writer, dry_run, field_validation, is_patch=True)
        return core.out(resource, made)

    def _apply_new(
        self, resource: Resource, namespace: str, name: str, config: Json, writer: Writer, dry_run: bool,
        field_validation: str,
    ) -> Json:  # fmt: skip
        metadata = config["metadata"]
        if writer.subresource:
            raise errors.not_found(resource.plural, resource.group, name)
        if metadata.get("uid"):
            uid = metadata["uid"]
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise errors.conflict(resource.plural, resource.group, name, why)
        self._core.check_namespace(resource, namespace)
        metadata.pop("resourceVersion", None)
        obj = ownership.applied(None, config, writer, resource.schema, self._core.time(), force=True)
        return self._create(resource, namespace, obj, writer, dry_run, field_validation)

    def _replace(
        self,
        resource: Resource,
        old: Json,
        new: Json,
        writer: Writer,
        dry_run: bool,
        field_validation: str,
        *,
        is_patch: bool = False,
    ) -> Json:
        """Makes `new` what is stored, as far as the subresource lets it; returns the stored state."""
        core = self._core
        if is_patch:
            check_patched_uid(resource, old, new)
        check_preconditions(resource, old, new["metadata"])
        place = (old["metadata"].get("namespace", ""), old["metadata"]["name"])
        is_applied = writer.operation == "Apply"
        old = copied(old)
        old["apiVersion"] = new["apiVersion"] = resource.api_version
        core.warnings += core.strategy.decode(resource, new, field_validation, is_applied=is_applied)
        subresource = writer.subresource if writer.subresource in resource.subresources else ""
        new = core.strategy.prepare_update(resource, old, new, subresource)
        new = core.mutated(new)
        causes = core.strategy.causes(resource, new, old)
        if causes:
            raise errors.invalid(resource.kind, resource.group, place[1], causes)
        if not writer.subresource and not old["metadata"].get("deletionTimestamp"):
            core.ask(resource, "UPDATE", old, new)
        if not is_applied:
            ownership.own_update(old, new, writer, resource.schema, core.time())
        if is_same(old, new):
            return old
        if resource.key == CRD_KIND:
            establish(new, core.time())
        if dry_run:
            return new
        made = self.commit(resource.key, place, new)
        core.settle()
        return made

    def commit(self, kind: Kind, place: Place, new: Json) -> Json:
        """Stores the new state, or ends the object when nothing keeps it any more."""
        store = self._core.store
        if self._core.strategy.is_over(kind, new):
            store.put(kind, place, new)  # the last change is seen, and then the end
            return store.put(kind, place, None) if store.get(kind, place) is not None else new
        return store.put(kind, place, new)

    def rewrite(self, kind: Kind, place: Place, new: Json) -> None:
        """The collector's own changes: nobody is asked."""
        new = copied(new)
        for field in ("finalizers", "ownerReferences"):
            if new["metadata"].get(field) == []:
                del new["metadata"][field]
        self.commit(kind, place, new)

    def bind(self, resource: Resource, namespace: str, name: str, body: Json, *, dry_run: bool) -> Json:
        """The binding of a pod to a node."""
        core = self._core
        old = core.find(resource, namespace, name)
        check_preconditions(resource, old, body.get("metadata") or {})
        node = (body.get("target") or {}).get("name")
        if not node:
            raise errors.invalid("Binding", "", name, [errors.required("target.name")])
        if old["metadata"].get("deletionTimestamp"):
            why = f"pod {name} is being deleted, cannot be assigned to a host"
            raise errors.conflict("pods/binding", "", name, why)
        if taken := old["spec"].get("nodeName"):
            raise errors.conflict("pods/binding", "", name, f'pod {name} is already assigned to node "{taken}"')
        new = copied(old)
        new["spec"]["nodeName"] = node
        scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": core.time()}
        kept = [item for item in (new.get("status") or {}).get("conditions") or () if item["type"] != "PodScheduled"]
        new["status"] = {**(new.get("status") or {}), "conditions": [*kept, scheduled]}
        if not dry_run:
            core.store.put(resource.key, (namespace, name), new)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _patched(resource: Resource, old: Json, body: Any, content_type: str) -> Json:
    if content_type == JSON_PATCH:
        return json_patched(old, body)
    if not isinstance(body, dict):
        raise errors.bad_request("a patch must be a JSON object")
    if content_type == MERGE_PATCH:
        patched: Json = merged(old, body)
        return patched
    if content_type == STRATEGIC_PATCH and not resource.is_custom:
        result: Json = strategic_merged(old, body)
        return result
    raise errors.unsupported_media_type(content_type)
