"""Watch: one client's filtered view of the store's changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from kaito.api.meta import Json
from kaito.local.apiserver.errors import StatusError
from kaito.local.apiserver.json_values import copied
from kaito.local.apiserver.registry import Resource
from kaito.local.apiserver.selectors import Predicate
from kaito.local.apiserver.store import Commit, Store

Event: TypeAlias = tuple[str, Json]  # ADDED | MODIFIED | DELETED | BOOKMARK | ERROR, object or Status

BUFFER_MAX = 100_000  # a client that reads slower than this is cut off, as the real server does


class Watch:
    """Events wait here until they are taken. `on_event` is called (synchronously) whenever there is something new."""

    def __init__(self, store: Store, resource: Resource, namespace: str, matches: Predicate) -> None:
        self._store, self._resource, self._namespace, self._matches = store, resource, namespace, matches
        self._events: deque[Event] = deque()
        self._listeners: list[Callable[[], None]] = []
        self.closed = False
        store.listeners[self] = self._receive

    def start(self, version: int | None, current: Iterable[Json]) -> None:
        """From a version on, or (None) from the current objects as ADDED."""
        if version is None:
            for obj in current:
                self._events.append(("ADDED", obj))
            return
        try:
            commits = self._store.since(version)
        except StatusError as error:
            self._events.append(("ERROR", error.status))
            self.close()
            return
        for commit in commits:
            self._receive(commit)

    def on_event(self, callback: Callable[[], None]) -> None:
        self._listeners.append(callback)

    def take(self) -> list[Event]:
        """All events so far, in order; the objects are copies."""
        taken = [(type_, self._out(obj)) for type_, obj in self._events]
        self._events.clear()
        return taken

    def bookmark(self) -> Event:
        """The BOOKMARK that says how far this watch has seen."""
        metadata = {"resourceVersion": str(self._store.version), "creationTimestamp": None}
        return "BOOKMARK", {
            "kind": self._resource.kind,
            "apiVersion": self._resource.api_version,
            "metadata": metadata,
        }

    def add_bookmark(self, *, ends_initial_events: bool = False) -> None:
        type_, obj = self.bookmark()
        if ends_initial_events:
            obj["metadata"]["annotations"] = {"k8s.io/initial-events-end": "true"}
        self._events.append((type_, obj))
        self._tell()

    def close(self) -> None:
        self.closed = True
        self._store.listeners.pop(self, None)
        self._tell()

    def _tell(self) -> None:
        for callback in self._listeners:
            callback()

    def _out(self, obj: Json) -> Json:
        result: Json = copied(obj)
        if result.get("kind") == self._resource.kind:
            result["apiVersion"] = self._resource.api_version
        return result

    def _receive(self, commit: Commit) -> None:
        if commit.kind != self._resource.key or (self._namespace and commit.place[0] != self._namespace):
            return
        if commit.new is None:
            assert commit.old is not None
            event = ("DELETED", _last(commit)) if self._matches(commit.old) else None
        else:
            was = commit.old is not None and self._matches(commit.old)
            event = _transition(was, self._matches(commit.new), commit)
        if event is None:
            return
        if len(self._events) >= BUFFER_MAX:
            self.close()
            return
        self._events.append(event)
        self._tell()


def _transition(was: bool, is_now: bool, commit: Commit) -> Event | None:
    assert commit.new is not None
    if is_now:
        return ("MODIFIED" if was else "ADDED"), commit.new
    if was:  # it left the selector: its last matching state, at the version at which it left
        return "DELETED", _last(commit)
    return None


def _last(commit: Commit) -> Json:
    """The state before the change, at the version of the change."""
    assert commit.old is not None
    return commit.old | {"metadata": commit.old["metadata"] | {"resourceVersion": str(commit.version)}}
