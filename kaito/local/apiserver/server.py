"""ApiServer: the verbs of a Kubernetes API server over the store. Synchronous and pure; every call is atomic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from kaito.api.meta import Json
from kaito.local.apiserver.collector import CRD_KIND, NAMESPACE_KIND, Collector
from kaito.local.apiserver.core import Admit, Core
from kaito.local.apiserver.deletes import Deletes
from kaito.local.apiserver.errors import StatusError
from kaito.local.apiserver.json_values import copied
from kaito.local.apiserver.ownership import Writer
from kaito.local.apiserver.reads import Reads
from kaito.local.apiserver.registry import Registry, Resource
from kaito.local.apiserver.store import Commit, Store
from kaito.local.apiserver.strategy import Strategy
from kaito.local.apiserver.writes import APPLY_PATCH, Writes

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


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
        strategy = Strategy(
            self.store, emulate, new_uid, schemas, has_loopback_endpoints=has_loopback_endpoints
        )  # fmt: skip
        self._core = Core(self.store, self.registry, strategy, now=now, new_uid=new_uid, admit=admit)
        self._reads, self._writes = Reads(self._core), Writes(self._core)
        self._deletes = Deletes(self._core, self._writes.rewrite)
        self._collector = Collector(
            self.store,
            self.registry,
            delete=self._deletes.begin,
            write=self._writes.rewrite,
            complain=self._complain,
        )
        self._core.settle = self._collector.settle
        self.store.listeners[self._collector] = self._follow
        self.on_commit: Callable[[Commit], None] = lambda _: None
        self.store.on_commit = self._record
        self.get, self.list, self.watch = self._reads.get, self._reads.list, self._reads.watch

    @property
    def warnings(self) -> list[str]:
        """Of the last call."""
        return self._core.warnings

    def start(self) -> None:
        """Makes the namespaces that every cluster has, where they are missing."""
        resource = self.registry.find("", "v1", "namespaces")
        for name in NAMESPACES:
            if self.store.get(NAMESPACE_KIND, ("", name)) is None:
                body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
                self.create(resource, "", body, field_manager="kube-apiserver")

    @contextmanager
    def mutated_by(self, patches: list[Json]) -> Iterator[None]:
        """What is written in the block is changed by these JSON patches, as mutating webhooks want it."""
        self._core.mutations = patches
        try:
            yield
        finally:
            self._core.mutations = []

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
        self._core.warnings = []
        if subresource == "binding":
            return self._writes.bind(resource, namespace, name, body, dry_run=dry_run)
        if subresource == "eviction":
            return self.delete(resource, namespace, name, body.get("deleteOptions"), dry_run=dry_run)
        writer = Writer(field_manager, "Update")
        return self._writes.create(resource, namespace, body, writer, dry_run, field_validation)

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
        self._core.warnings = []
        writer = Writer(field_manager, "Update", subresource)
        return self._writes.update(resource, namespace, name, body, writer, dry_run, field_validation)

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
        self._core.warnings = []
        if content_type == APPLY_PATCH:
            writer = Writer(field_manager, "Apply", subresource)
            return self._writes.apply(
                resource, namespace, name, body, writer, force=force, dry_run=dry_run, field_validation=field_validation
            )
        writer = Writer(field_manager, "Update", subresource)
        return self._writes.patch(resource, namespace, name, body, content_type, writer, dry_run, field_validation)

    def delete(
        self, resource: Resource, namespace: str, name: str, options: Json | None = None, *, dry_run: bool = False
    ) -> Json:
        """The object while something keeps it, else a Status of success."""
        self._core.warnings = []
        return self._deletes.delete(resource, namespace, name, options or {}, dry_run=dry_run)

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

    # What follows from a change.

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
        metadata, time = obj["metadata"], self._core.time()
        message = (
            f"ownerRef [{owner['apiVersion']}/{owner['kind']}, namespace: , name: {owner['name']}, "
            f'uid: {owner["uid"]}] does not exist in namespace "{metadata.get("namespace", "")}"'
        )
        reference = {"kind": resource.kind, "apiVersion": resource.api_version, "name": metadata["name"],
                     "uid": metadata["uid"]}  # fmt: skip
        body = {
            "apiVersion": "v1", "kind": "Event", "involvedObject": reference, "type": "Warning", "count": 1,
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": "default"},
            "reason": "OwnerRefInvalidNamespace", "message": message, "firstTimestamp": time, "lastTimestamp": time,
            "source": {"component": "garbage-collector-controller"},
        }  # fmt: skip
        warnings = self._core.warnings
        try:
            events = self.registry.find("", "v1", "events")
            self.create(events, "default", body, field_manager="kube-controller-manager")
        except StatusError:
            pass  # without the namespace there is nobody to tell
        finally:
            self._core.warnings = warnings
