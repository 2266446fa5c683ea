"""Reads: get, list in pages, watch."""

from __future__ import annotations

from collections.abc import Callable

from kaito.api.meta import Json
from kaito.local.apiserver import errors
from kaito.local.apiserver.core import Core
from kaito.local.apiserver.registry import Resource
from kaito.local.apiserver.scaling import as_scale
from kaito.local.apiserver.selectors import parse_fields, parse_labels
from kaito.local.apiserver.store import continue_token, parse_continue
from kaito.local.apiserver.watch import Watch


class Reads:
    def __init__(self, core: Core) -> None:
        self._core = core

    def get(self, resource: Resource, namespace: str, name: str, *, subresource: str = "") -> Json:
        self._core.warnings = []
        obj = self._core.find(resource, namespace, name)
        return as_scale(resource, obj) if subresource == "scale" else self._core.out(resource, obj)

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
        self._core.warnings = []
        store = self._core.store
        matches = _matcher(resource, label_selector, field_selector)
        version, start = parse_continue(continue_) if continue_ else (store.version, None)
        objects = store.at(resource.key, version) if continue_ else store.objects.get(resource.key, {})
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
            "items": [self._core.out(resource, objects[place]) for place in page],
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
        matches = _matcher(resource, label_selector, field_selector)
        if resource_version and not resource_version.isdigit():
            raise errors.bad_request(f'resourceVersion: Invalid value: "{resource_version}": must be a number')
        store = self._core.store
        watch = Watch(store, resource, namespace, matches)
        if resource_version in ("", "0") or send_initial_events:
            objects = store.objects.get(resource.key, {})
            places = sorted(place for place in objects if not namespace or place[0] == namespace)
            watch.start(None, [objects[place] for place in places if matches(objects[place])])
            if send_initial_events and bookmarks:
                watch.add_bookmark(ends_initial_events=True)
        else:
            watch.start(int(resource_version), ())
        return watch


def _matcher(resource: Resource, labels: str, fields: str) -> Callable[[Json], bool]:
    by_labels, by_fields = parse_labels(labels), parse_fields(fields, resource.key)
    return lambda obj: by_labels(obj) and by_fields(obj)
