"""WatchMachine: the list/watch protocol of one kind, without I/O.

| state    | next request                 | what moves it on                                             |
|----------|------------------------------|--------------------------------------------------------------|
| Empty    | first page of a list         | a page → Listing or Listed                                   |
| Listing  | next page, by continue token | a page → Listing or Listed; token expired (410) → Empty      |
| Listed   | watch from resourceVersion   | a line → Watching; 410 → Empty                               |
| Watching | watch from resourceVersion   | lines and bookmarks advance it; 410 → Empty; end → the same  |

A relist builds beside (Init … InitDone), so what vanished while we were away is found by whoever applies the events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from kaito.api.meta import ObjectRef, ResourceVersion
from kaito.state.events import Apply, Delete, Init, InitApply, InitDone, WatchEvent
from kaito.state.kinds import KindRow

State: TypeAlias = Literal["Empty", "Listing", "Listed", "Watching"]
GONE = 410


@dataclass(frozen=True, slots=True)
class ListRequest:
    continue_: str


@dataclass(frozen=True, slots=True)
class WatchRequest:
    resource_version: ResourceVersion


class Broken(Exception):
    """The stream said something that ends it: an ERROR other than 410, or a line that is no event. Connect again."""


class _ListMeta(msgspec.Struct, rename={"resource_version": "resourceVersion", "continue_": "continue"}):
    resource_version: str = ""
    continue_: str = ""


class _Page(msgspec.Struct):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[msgspec.Raw] | None = None


class _Status(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""


class _Envelope(msgspec.Struct):
    type: str
    object: msgspec.Raw


class WatchMachine:
    """Law: applying all its events in order yields what the server has, whatever was lost on the way."""

    def __init__(self, row: KindRow) -> None:
        self.row = row
        self.state: State = "Empty"
        self.skipped = 0  # objects that did not decode
        self.has_bookmarks = False
        self._version = ResourceVersion("")
        self._continue = ""
        line = msgspec.defstruct("Line", [("type", str), ("object", row.wire)], gc=False)
        self._lines = msgspec.json.Decoder(line)
        self._items = msgspec.json.Decoder(row.wire)
        self._pages = msgspec.json.Decoder(_Page)
        self._envelopes = msgspec.json.Decoder(_Envelope)

    def next_request(self) -> ListRequest | WatchRequest:
        match self.state:
            case "Empty" | "Listing":
                return ListRequest(self._continue)
            case "Listed" | "Watching":
                return WatchRequest(self._version)

    def receive_page(self, body: bytes) -> list[WatchEvent]:
        """One page of the list. Raises Broken when it is no list."""
        try:
            page = self._pages.decode(body)
        except msgspec.MsgspecError as error:
            self.gone()
            raise Broken(f"a page of the list of {self.row.kind.plural} is not JSON: {error}") from error
        events: list[WatchEvent] = [Init()] if self.state == "Empty" else []
        for raw in page.items or ():
            obj = self._item(raw)
            if obj is not None:
                events.append(InitApply(self._ref(obj), obj))
        self._continue = page.metadata.continue_
        if self._continue:
            self.state = "Listing"
            return events
        self.state, self._version = "Listed", ResourceVersion(page.metadata.resource_version)
        return [*events, InitDone(self._version)]

    def receive_line(self, line: bytes) -> WatchEvent | None:
        """One line of the watch; None for what is no event. After a 410 the state is Empty. Raises Broken."""
        try:
            event: Any = self._lines.decode(line)
        except msgspec.MsgspecError:
            self._receive_odd(line)
            return None
        match event.type:
            case "ADDED" | "MODIFIED":
                self._advance(event.object)
                obj = self._decoded(event.object)
                return Apply(self._ref(obj), obj)
            case "DELETED":
                self._advance(event.object)
                obj = self._decoded(event.object)
                return Delete(self._ref(obj), obj)
            case "BOOKMARK":
                self.has_bookmarks = True
                self._advance(event.object)
                return None
            case _:
                self._receive_odd(line)
                return None

    def gone(self) -> None:
        """The server no longer has what we resume from: list again."""
        self.state, self._continue, self._version = "Empty", "", ResourceVersion("")

    def closed(self) -> None:
        """The connection ended. A list cut short starts over; a watch goes on from where it was."""
        self.has_bookmarks = False

    def _receive_odd(self, line: bytes) -> None:
        """An ERROR event, an object that does not decode, or no event at all."""
        try:
            envelope = self._envelopes.decode(line)
            if envelope.type in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK"):
                version = msgspec.json.decode(envelope.object, type=_OnlyVersion).metadata.resource_version
                if envelope.type == "BOOKMARK":  # an object with nothing in it, or with null for its creation time
                    self.has_bookmarks = True
                else:
                    self.skipped += 1
                self.state, self._version = "Watching", ResourceVersion(version) or self._version
                return
            status = msgspec.json.decode(envelope.object, type=_Status)
        except msgspec.MsgspecError as error:
            raise Broken(f"a line of the watch of {self.row.kind.plural} is no event: {error}") from error
        if envelope.type == "ERROR" and status.code == GONE:
            self.gone()
            return
        raise Broken(f"the watch of {self.row.kind.plural} said {envelope.type} {status.code} {status.message}".strip())

    def _item(self, raw: msgspec.Raw) -> Any | None:
        try:
            return self._decoded(self._items.decode(raw))
        except msgspec.MsgspecError:
            self.skipped += 1
            return None

    def _decoded(self, wire: Any) -> Any:
        return wire if self.row.decode is None else self.row.decode(wire)

    def _ref(self, obj: Any) -> ObjectRef:
        ref = getattr(obj, "ref", None)
        return ref if ref is not None else self.row.kind.ref(obj.metadata.namespace, obj.metadata.name)

    def _advance(self, wire: Any) -> None:
        metadata = wire["metadata"] if isinstance(wire, dict) else wire.metadata
        version = metadata.get("resourceVersion", "") if isinstance(metadata, dict) else metadata.resource_version
        self.state = "Watching"
        if version:
            self._version = ResourceVersion(version)


class _VersionMeta(msgspec.Struct, rename={"resource_version": "resourceVersion"}):
    resource_version: str = ""


class _OnlyVersion(msgspec.Struct):
    metadata: _VersionMeta = msgspec.field(default_factory=_VersionMeta)
