"""ApiServer: the verbs of a Kubernetes API server over the store. Synchronous and pure; every call is atomic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from kaito.api.meta import Json
from kaito.clock import rfc3339
from kaito.local.apiserver import errors, ownership
from kaito.local.apiserver.collector import CRD_KIND, FOREGROUND, NAMESPACE_KIND, Collector
from kaito.local.apiserver.custom import establish
from kaito.local.apiserver.errors import StatusError
from kaito.local.apiserver.json_values import copied, json_patched, merged
from kaito.local.apiserver.ownership import Writer
from kaito.local.apiserver.registry import Registry, Resource
from kaito.local.apiserver.scaling import as_scale, set_replicas
from kaito.local.apiserver.selectors import parse_fields, parse_labels
from kaito.local.apiserver.store import Commit, Kind, Place, Store, continue_token, parse_continue
from kaito.local.apiserver.strategic import strategic_merged
from kaito.local.apiserver.strategy import Strategy
from kaito.local.apiserver.watch import Watch

Admit: TypeAlias = Callable[[str, Resource, Json | None, Json | None], list[str]]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
WEBHOOK = "validation.workspace.kaito.sh"
NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
POD: Kind = ("", "pods")


class ApiServer:
    """See the package docstring."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        new_uid: Callable[[], str],
        emulate: tuple[int, int] = (1, 36),
        history_max: int = 10_000,
        admit: Sequence[Admit] = (),
        schemas: Callable[[Resource], Json | None] = lambda _: None,
        has_loopback_endpoints: bool = False,
    ) -> None:
        self.emulate = emulate
        self.registry = Registry(emulate)
        self.store = Store(history_max)
        self.warnings: list[str] = []  # of the last call
        self._now, self._new_uid, self._admit = now, new_uid, tuple(admit)
        self._strategy = Strategy(self.store, emulate, new_uid, schemas, has_loopback_endpoints=has_loopback_endpoints)
        self._collector = Collector(
            self.store, self.registry, delete=self._delete_quietly, write=self._write, complain=self._complain
        )
        self.store.listeners[self._collector] = self._follow
        self.on_commit: Callable[[Commit], None] = lambda _: None
        self.store.on_commit = self._record

    def start(self) -> None:
        """Makes the namespaces that every cluster has, where they are missing."""
        resource = self.registry.find("", "v1", "namespaces")
        for name in NAMESPACES:
            if self.store.get(NAMESPACE_KIND, ("", name)) is None:
                body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
                self.create(resource, "", body, field_manager="kube-apiserver")

    # Reading.

    def get(self, resource: Resource, namespace: str, name: str, *, subresource: str = "") -> Json:
        self.warnings = []
        obj = self._find(resource, namespace, name)
        return as_scale(resource, obj) if subresource == "scale" else self._out(resource, obj)

    def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_: str = "",
    ) -> Json:
        """A page of objects in (namespace, name) order. Raises StatusError 410 for an expired continue token."""
        self.warnings = []
        matches = self._matcher(resource, label_selector, field_selector)
        version, start = parse_continue(continue_) if continue_ else (self.store.version, None)
        objects = self.store.at(resource.key, version) if continue_ else self.store.objects.get(resource.key, {})
        places = sorted(place for place in objects if not namespace or place[0] == namespace)
        if start is not None:
            places = [place for place in places if place > start]
        found = [place for place in places if matches(objects[place])]
        page = found[:limit] if limit else found
        metadata: Json = {"resourceVersion": str(version)}
        if len(page) < len(found):
            metadata["continue"] = continue_token(version, page[-1])
            if not label_selector and not field_selector:
                metadata["remainingItemCount"] = len(found) - len(page)
        return {
            "kind": resource.list_kind,
            "apiVersion": resource.api_version,
            "metadata": metadata,
            "items": [self._out(resource, objects[place]) for place in page],
        }

    def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        bookmarks: bool = False,
        send_initial_events: bool = False,
    ) -> Watch:
        """Events after a version; without one (or `0`) the current objects come first, as ADDED.

        A version that is compacted gives one ERROR event with a 410, and a closed watch, as the real server does.
        """
        matches = self._matcher(resource, label_selector, field_selector)
        if resource_version and not resource_version.isdigit():
            raise errors.bad_request(f'resourceVersion: Invalid value: "{resource_version}": must be a number')
        watch = Watch(self.store, resource, namespace, matches)
        if resource_version in ("", "0") or send_initial_events:
            objects = self.store.objects.get(resource.key, {})
            places = sorted(place for place in objects if not namespace or place[0] == namespace)
            watch.start(None, [objects[place] for place in places if matches(objects[place])])
            if send_initial_events and bookmarks:
                watch.add_bookmark(ends_initial_events=True)
        else:
            watch.start(int(resource_version), ())
        return watch

    # Writing.

    def create(
        self,
        resource: Resource,
        namespace: str,
        body: Json,
        *,
        name: str = "",
        subresource: str = "",
        field_manager: str = "unknown",
        dry_run: bool = False,
        field_validation: str = "Warn",
    ) -> Json:
        self.warnings = []
        if subresource == "binding":
            return self._bind(resource, namespace, name, body, dry_run=dry_run)
        if subresource == "eviction":
            return self.delete(resource, namespace, name, body.get("deleteOptions"))
        obj = self._read_body(resource, namespace, body)
        self._check_namespace(resource, namespace)
        metadata = obj["metadata"]
        if metadata.get("resourceVersion"):
            raise errors.internal("resourceVersion should not be set on objects to be created")
        self._strategy.name(metadata)
        return self._create(resource, namespace, obj, Writer(field_manager, "Update"), dry_run, field_validation)

    def _create(
        self, resource: Resource, namespace: str, obj: Json, writer: Writer, dry_run: bool, field_validation: str
    ) -> Json:
        place = (namespace, obj["metadata"].get("name", ""))
        is_applied = writer.operation == "Apply"
        self.warnings += self._strategy.decode(resource, obj, field_validation, is_applied=is_applied)
        obj["metadata"] |= {"uid": self._new_uid(), "creationTimestamp": self._time()}
        self._strategy.prepare_create(resource, obj)
        causes = self._strategy.causes(resource, obj, None)
        if causes:
            raise errors.invalid(resource.kind, resource.group, place[1], causes)
        if self.store.get(resource.key, place) is not None:
            raise errors.already_exists(resource.plural, resource.group, place[1])
        self._ask(resource, "CREATE", None, obj)
        if resource.key == CRD_KIND:
            establish(obj, self._time())
        if not is_applied:
            ownership.own_update(None, obj, writer, resource.schema, self._time())
        if dry_run:
            return self._out(resource, obj)
        made = self.store.put(resource.key, place, obj)
        self._collector.settle()
        return self._out(resource, made)

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Json,
        *,
        subresource: str = "",
        field_manager: str = "unknown",
        dry_run: bool = False,
        field_validation: str = "Warn",
    ) -> Json:
        self.warnings = []
        old = self._find(resource, namespace, name)
        writer = Writer(field_manager, "Update", subresource)
        if subresource == "scale":
            self._check_preconditions(resource, old, body.get("metadata") or {})
            new = set_replicas(resource, old, (body.get("spec") or {}).get("replicas", 0))
            return as_scale(resource, self._replace(resource, old, new, writer, dry_run, field_validation))
        new = self._read_body(resource, namespace, body)
        if new["metadata"].get("name") != name:
            given = new["metadata"].get("name", "")
            raise errors.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        return self._out(resource, self._replace(resource, old, new, writer, dry_run, field_validation))

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Any,
        content_type: str,
        *,
        subresource: str = "",
        field_manager: str = "unknown",
        force: bool = False,
        dry_run: bool = False,
        field_validation: str = "Warn",
    ) -> Json:
        self.warnings = []
        if content_type == APPLY_PATCH:
            return self._apply(
                resource, namespace, name, body, Writer(field_manager, "Apply", subresource), force=force,
                dry_run=dry_run, field_validation=field_validation,
            )  # fmt: skip
        old = self._find(resource, namespace, name)
        writer = Writer(field_manager, "Update", subresource)
        shown = as_scale(resource, old) if subresource == "scale" else self._out(resource, old)
        new = self._patched(resource, shown, body, content_type)
        if subresource == "scale":
            self._check_preconditions(resource, old, new["metadata"])
            scaled = set_replicas(resource, old, (new.get("spec") or {}).get("replicas", 0))
            return as_scale(resource, self._replace(resource, old, scaled, writer, dry_run, field_validation))
        if not isinstance(new.get("metadata"), dict):
            new["metadata"] = {}
        if new["metadata"].get("name") != name:
            given = new["metadata"].get("name", "")
            raise errors.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        made = self._replace(resource, old, new, writer, dry_run, field_validation, is_patch=True)
        return self._out(resource, made)

    def _patched(self, resource: Resource, old: Json, body: Any, content_type: str) -> Json:
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

    def _apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Any,
        writer: Writer,
        *,
        force: bool,
        dry_run: bool,
        field_validation: str,
    ) -> Json:
        config = self._read_body(resource, namespace, body)
        metadata = config["metadata"]
        if metadata.get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        if metadata.setdefault("name", name) != name:
            raise errors.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        live = self.store.get(resource.key, (namespace, name))
        self._strategy.check_applied(resource, config)
        if live is None:
            if writer.subresource:
                raise errors.not_found(resource.plural, resource.group, name)
            if metadata.get("uid"):
                uid = metadata["uid"]
                why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                raise errors.conflict(resource.plural, resource.group, name, why)
            self._check_namespace(resource, namespace)
            metadata.pop("resourceVersion", None)
            obj = ownership.applied(None, config, writer, resource.schema, self._time(), force=True)
            return self._create(resource, namespace, obj, writer, dry_run, field_validation)
        self._check_preconditions(resource, live, {"resourceVersion": metadata.get("resourceVersion")})
        base = copied(live)
        base["apiVersion"] = resource.api_version
        new = ownership.applied(base, config, writer, resource.schema, self._time(), force=force)
        made = self._replace(resource, live, new, writer, dry_run, field_validation, is_patch=True)
        return self._out(resource, made)

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
        if is_patch:
            self._check_patched_uid(resource, old, new)
        self._check_preconditions(resource, old, new["metadata"])
        place = (old["metadata"].get("namespace", ""), old["metadata"]["name"])
        is_applied = writer.operation == "Apply"
        old = copied(old)
        old["apiVersion"] = new["apiVersion"] = resource.api_version
        self.warnings += self._strategy.decode(resource, new, field_validation, is_applied=is_applied)
        subresource = writer.subresource if writer.subresource in resource.subresources else ""
        new = self._strategy.prepare_update(resource, old, new, subresource)
        causes = self._strategy.causes(resource, new, old)
        if causes:
            raise errors.invalid(resource.kind, resource.group, place[1], causes)
        if not writer.subresource and not old["metadata"].get("deletionTimestamp"):
            self._ask(resource, "UPDATE", old, new)
        if not is_applied:
            ownership.own_update(old, new, writer, resource.schema, self._time())
        if _is_same(old, new):
            return old
        if resource.key == CRD_KIND:
            establish(new, self._time())
        if dry_run:
            return new
        made = self._commit(resource.key, place, new)
        self._collector.settle()
        return made

    def _commit(self, kind: Kind, place: Place, new: Json) -> Json:
        """Stores the new state, or ends the object when nothing keeps it any more."""
        if self._strategy.is_over(kind, new):
            self.store.put(kind, place, new)  # the last change is seen, and then the end
            return self.store.put(kind, place, None) if self.store.get(kind, place) is not None else new
        return self.store.put(kind, place, new)

    def delete(
        self, resource: Resource, namespace: str, name: str, options: Json | None = None, *, dry_run: bool = False
    ) -> Json:
        """The object while something keeps it, else a Status of success."""
        self.warnings = []
        options = options or {}
        obj = self._find(resource, namespace, name)
        wanted = options.get("preconditions") or {}
        self._check_preconditions(resource, obj, wanted, is_delete=True)
        if not dry_run:
            policy = options.get("propagationPolicy") or ("Orphan" if options.get("orphanDependents") else "Background")
            self._delete(resource.key, (namespace, name), policy, options.get("gracePeriodSeconds"))
            self._collector.settle()
        left = self.store.get(resource.key, (namespace, name))
        if left is not None and left["metadata"]["uid"] == obj["metadata"]["uid"]:
            return self._out(resource, left)
        details: Json = {"name": name, "kind": resource.plural, "uid": obj["metadata"]["uid"]}
        if resource.group:
            details["group"] = resource.group
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def delete_collection(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        options: Json | None = None,
    ) -> Json:
        """The list of what was deleted."""
        found = self.list(resource, namespace, label_selector=label_selector, field_selector=field_selector)
        for item in found["items"]:
            metadata = item["metadata"]
            at = (metadata.get("namespace", ""), metadata["name"])
            if self.store.get(resource.key, at) is not None:
                self.delete(resource, *at, options)
        return found

    def _delete(self, kind: Kind, place: Place, policy: str, grace_s: int | None) -> None:
        obj = self.store.get(kind, place)
        if obj is None:
            return
        new = copied(obj)
        metadata = new["metadata"]
        if policy == "Orphan":
            self._orphan(metadata["uid"])
        if policy == "Foreground" and FOREGROUND not in (metadata.get("finalizers") or ()):
            metadata["finalizers"] = [*(metadata.get("finalizers") or ()), FOREGROUND]
        grace = self._strategy.grace_s(kind, new, grace_s)
        before = metadata.get("deletionGracePeriodSeconds")
        if metadata.get("deletionTimestamp") is None or (before is not None and grace < before):
            metadata["deletionTimestamp"] = rfc3339(self._now() + timedelta(seconds=grace))
            metadata["deletionGracePeriodSeconds"] = grace
            if "generation" in metadata:
                metadata["generation"] += 1
            if kind == NAMESPACE_KIND:
                new["status"] = {**(new.get("status") or {}), "phase": "Terminating"}
        if self._strategy.is_over(kind, new):
            self.store.put(kind, place, None)
        elif not _is_same(obj, new):
            self.store.put(kind, place, new)

    def _delete_quietly(self, kind: Kind, place: Place, policy: str) -> None:
        self._delete(kind, place, policy, None)

    def _orphan(self, uid: str) -> None:
        for kind, place in self.store.dependants(uid):
            new = copied(self.store.get(kind, place))
            owners = [owner for owner in new["metadata"]["ownerReferences"] if owner["uid"] != uid]
            new["metadata"]["ownerReferences"] = owners
            self._write(kind, place, new)

    def _write(self, kind: Kind, place: Place, new: Json) -> None:
        new = copied(new)
        for field in ("finalizers", "ownerReferences"):
            if new["metadata"].get(field) == []:
                del new["metadata"][field]
        self._commit(kind, place, new)

    def _bind(self, resource: Resource, namespace: str, name: str, body: Json, *, dry_run: bool) -> Json:
        old = self._find(resource, namespace, name)
        self._check_preconditions(resource, old, body.get("metadata") or {})
        node = (body.get("target") or {}).get("name")
        if not node:
            raise errors.invalid("Binding", "", name, [errors.required("target.name")])
        metadata = old["metadata"]
        if metadata.get("deletionTimestamp"):
            raise errors.conflict(
                "pods/binding", "", name, f"pod {name} is being deleted, cannot be assigned to a host"
            )
        if taken := old["spec"].get("nodeName"):
            raise errors.conflict("pods/binding", "", name, f'pod {name} is already assigned to node "{taken}"')
        new = copied(old)
        new["spec"]["nodeName"] = node
        scheduled = {
            "type": "PodScheduled",
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": self._time(),
        }
        kept = [item for item in (new.get("status") or {}).get("conditions") or () if item["type"] != "PodScheduled"]
        new["status"] = {**(new.get("status") or {}), "conditions": [*kept, scheduled]}
        if not dry_run:
            self.store.put(resource.key, (namespace, name), new)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}

    # State.

    def load(self, version: int, objects: Iterable[Json]) -> None:
        """Starts from these objects as of a version; the history before it is compacted."""
        listed = list(objects)
        for obj in listed:
            if obj["kind"] == "CustomResourceDefinition":
                self.registry.serve_custom(obj)
        rows = []
        for obj in listed:
            group = obj["apiVersion"].rpartition("/")[0]
            resource = self.registry.of_kind(group, obj["kind"])
            if resource is not None:  # objects of kinds that are no longer served cannot be asked for
                metadata = obj["metadata"]
                rows.append((resource.key, (metadata.get("namespace", ""), metadata["name"]), copied(obj)))
        self.store.load(version, rows)

    def dump(self) -> Json:
        """`{"version": …, "objects": […]}`, for `load`."""
        objects = [self.store.objects[kind][at] for kind in sorted(self.store.objects) for at in
                   sorted(self.store.objects[kind])]  # fmt: skip
        return {"version": self.store.version, "objects": copied(objects)}

    # Parts.

    def _time(self) -> str:
        return rfc3339(self._now())

    def _out(self, resource: Resource, obj: Json) -> Json:
        result: Json = copied(obj)
        result["apiVersion"] = resource.api_version
        return result

    def _find(self, resource: Resource, namespace: str, name: str) -> Json:
        obj = self.store.get(resource.key, (namespace, name))
        if obj is None:
            raise errors.not_found(resource.plural, resource.group, name)
        return obj

    def _matcher(self, resource: Resource, labels: str, fields: str) -> Callable[[Json], bool]:
        by_labels, by_fields = parse_labels(labels), parse_fields(fields, resource.key)
        return lambda obj: by_labels(obj) and by_fields(obj)

    def _read_body(self, resource: Resource, namespace: str, body: Any) -> Json:
        if not isinstance(body, dict):
            raise errors.bad_request(f"the body must be a JSON object, not {type(body).__name__}")
        obj: Json = copied(body)
        expected = (resource.api_version, resource.kind)
        given = (obj.setdefault("apiVersion", expected[0]), obj.setdefault("kind", expected[1]))
        if given != expected:
            raise errors.bad_request(
                f"the API version in the data ({given[0]}, kind {given[1]}) does not match the expected API version "
                f"({expected[0]}, kind {expected[1]})"
            )
        if not isinstance(obj.setdefault("metadata", {}), dict):
            raise errors.bad_request("metadata must be an object")
        if resource.namespaced:
            if obj["metadata"].setdefault("namespace", namespace) != namespace:
                raise errors.bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
        else:
            obj["metadata"].pop("namespace", None)
        return obj

    def _check_namespace(self, resource: Resource, namespace: str) -> None:
        if not resource.namespaced:
            return
        found = self.store.get(NAMESPACE_KIND, ("", namespace))
        if found is None:
            raise errors.not_found("namespaces", "", namespace)
        if found["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise errors.forbidden(resource.plural, resource.group, "", why)

    def _check_preconditions(self, resource: Resource, obj: Json, wanted: Json, *, is_delete: bool = False) -> None:
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

    def _check_patched_uid(self, resource: Resource, old: Json, new: Json) -> None:
        """A PUT's uid is a precondition (409); a patch's is an immutable field (422), looked at after the version."""
        before, after = old["metadata"], new["metadata"]
        is_current = after.get("resourceVersion") in (None, "", before["resourceVersion"])
        if is_current and after.get("uid", before["uid"]) != before["uid"]:
            cause = errors.invalid_value("metadata.uid", after["uid"], "field is immutable")
            raise errors.invalid(resource.kind, resource.group, before["name"], [cause])
        after.pop("uid", None)

    def _ask(self, resource: Resource, operation: str, old: Json | None, new: Json) -> None:
        reasons = [reason for admit in self._admit for reason in admit(operation, resource, copied(old), copied(new))]
        if reasons:
            raise errors.denied(WEBHOOK, reasons)

    def _record(self, commit: Commit) -> None:
        self.on_commit(commit)

    def _follow(self, commit: Commit) -> None:
        if commit.kind == CRD_KIND:
            if commit.new is None:
                self.registry.drop_custom(commit.place[1])
            else:
                self.registry.serve_custom(commit.new)
        self._collector.hear(commit)

    def _complain(self, resource: Resource, obj: Json, owner: Json) -> None:
        """The Event by which the real garbage collector tells of an owner that it cannot follow."""
        metadata, time = obj["metadata"], self._time()
        message = (
            f"ownerRef [{owner['apiVersion']}/{owner['kind']}, namespace: , name: {owner['name']}, "
            f"uid: {owner['uid']}] "
            f'does not exist in namespace "{metadata.get("namespace", "")}"'
        )
        reference = {"kind": resource.kind, "apiVersion": resource.api_version, "name": metadata["name"],
                     "uid": metadata["uid"]}  # fmt: skip
        body = {
            "apiVersion": "v1", "kind": "Event", "involvedObject": reference, "type": "Warning", "count": 1,
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": "default"},
            "reason": "OwnerRefInvalidNamespace", "message": message, "firstTimestamp": time, "lastTimestamp": time,
            "source": {"component": "garbage-collector-controller"},
        }  # fmt: skip
        warnings = self.warnings
        try:
            events = self.registry.find("", "v1", "events")
            self.create(events, "default", body, field_manager="kube-controller-manager")
        except StatusError:
            pass  # without the namespace there is nobody to tell
        finally:
            self.warnings = warnings


def _is_same(old: Json, new: Json) -> bool:
    def bare(obj: Json) -> Json:
        return obj | {"metadata": {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"}}

    return bare(old) == bare(new)
