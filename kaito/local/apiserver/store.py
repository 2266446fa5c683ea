"""Store: objects, one version counter, a bounded history of changes, and who watches it.

Stored objects are never changed in place; readers outside the package get copies.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from kaito.api.meta import Json
from kaito.local.apiserver.errors import bad_request, expired

Kind: TypeAlias = tuple[str, str]  # group, plural
Place: TypeAlias = tuple[str, str]  # namespace, name

TOO_OLD_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter."
)


class Commit(NamedTuple):
    """One change: `old` None: created; `new` None: deleted (`old` is the last state)."""

    version: int
    kind: Kind
    place: Place
    old: Json | None
    new: Json | None


class Store:
    def __init__(self, history_max: int) -> None:
        self.version = 0
        self.compacted = 0  # nothing at or below this version can be told any more
        self.objects: dict[Kind, dict[Place, Json]] = {}
        self.history: deque[Commit] = deque()
        self.listeners: dict[object, Callable[[Commit], None]] = {}
        self.on_commit: Callable[[Commit], None] = lambda _: None
        self._history_max = history_max
        self._dependants: dict[str, dict[tuple[Kind, Place], None]] = {}
        self._uids: dict[str, tuple[Kind, Place]] = {}

    def get(self, kind: Kind, place: Place) -> Json | None:
        return self.objects.get(kind, {}).get(place)

    def of_uid(self, uid: str) -> tuple[Kind, Place] | None:
        return self._uids.get(uid)

    def dependants(self, uid: str) -> list[tuple[Kind, Place]]:
        """Objects whose owner references name this uid, in a fixed order."""
        return sorted(self._dependants.get(uid, ()))

    def put(self, kind: Kind, place: Place, obj: Json | None) -> Json:
        """Commits the object's new state, or with None its end; returns the state with its resourceVersion."""
        old = self.get(kind, place)
        self.version += 1
        state: Json = dict(obj or old or {})
        state["metadata"] = dict(state["metadata"], resourceVersion=str(self.version))
        commit = Commit(self.version, kind, place, old, None if obj is None else state)
        self.on_commit(commit)  # recorded before it is seen
        self._keep(kind, place, commit.new)
        self.history.append(commit)
        while len(self.history) > self._history_max:
            self.compacted = self.history.popleft().version
        for listener in list(self.listeners.values()):
            listener(commit)
        return state

    def _keep(self, kind: Kind, place: Place, new: Json | None) -> None:
        old = self.get(kind, place)
        if old is not None:
            self._uids.pop(old["metadata"]["uid"], None)
            for owner in old["metadata"].get("ownerReferences") or ():
                known = self._dependants.get(owner["uid"], {})
                known.pop((kind, place), None)
                if not known:
                    self._dependants.pop(owner["uid"], None)
            del self.objects[kind][place]
        if new is not None:
            self.objects.setdefault(kind, {})[place] = new
            self._uids[new["metadata"]["uid"]] = (kind, place)
            for owner in new["metadata"].get("ownerReferences") or ():
                self._dependants.setdefault(owner["uid"], {})[(kind, place)] = None

    def load(self, version: int, objects: Iterable[tuple[Kind, Place, Json]]) -> None:
        """Starts from these objects; whatever happened before is compacted."""
        for kind, place, obj in objects:
            self._keep(kind, place, obj)
        self.version = self.compacted = version
        self.history.clear()

    def compact(self, version: int) -> None:
        """Forgets what happened up to this version."""
        while self.history and self.history[0].version <= version:
            self.history.popleft()
        self.compacted = max(self.compacted, min(version, self.version))

    def at(self, kind: Kind, version: int) -> dict[Place, Json]:
        """The objects of a kind as they were at a version. Raises StatusError 410 when that is compacted."""
        if version < self.compacted:
            raise expired(TOO_OLD_CONTINUE)
        found = dict(self.objects.get(kind, {}))
        for commit in reversed(self.history):
            if commit.version <= version:
                break
            if commit.kind != kind:
                continue
            if commit.new is None or commit.old is not None:
                assert commit.old is not None
                found[commit.place] = commit.old
            else:
                found.pop(commit.place, None)
        return found

    def since(self, version: int) -> list[Commit]:
        """The changes after a version. Raises StatusError 410 when some of them are compacted."""
        if version < self.compacted:
            raise expired(f"too old resource version: {version} ({self.compacted})")
        return [commit for commit in self.history if commit.version > version]


def continue_token(version: int, place: Place) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": list(place)})
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_continue(token: str) -> tuple[int, Place]:
    """Raises StatusError 400 for a token that is none of ours."""
    try:
        found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, name = found["start"]
        return int(found["rv"]), (str(namespace), str(name))
    except (ValueError, KeyError, TypeError) as error:
        raise bad_request(f"continue key is not valid: {error}") from error
