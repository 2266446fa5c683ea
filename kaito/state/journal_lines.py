"""A journal as JSON lines and back. Two equal histories are equal byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from kaito.api.meta import Json, ObjectRef, ResourceKind, ResourceVersion, from_json
from kaito.api.workspace import RootObject
from kaito.state.events import Apply, Delete, Init, InitApply, InitDone
from kaito.state.graph import StateGraph
from kaito.state.journal import Entry, Journal
from kaito.state.kinds import KINDS, KindRow
from kaito.state.view import Answer, InvalidObject, ServerCapabilities

FORMAT = 1
ROWS: Mapping[str, KindRow] = {row.kind.kind: row for row in KINDS}


class NoJournal(ValueError):
    """The lines are no journal, or not one of ours; the message names the line."""


def journal_lines(journal: Journal, settings: Json, *, actions_json: Callable[[Any], list[Json]]) -> Iterator[bytes]:
    """The header with the settings, then an entry a line. `actions_json` renders what was planned."""
    yield _line({"what": "journal", "format": FORMAT, "settings": settings})
    for entry in journal.entries():
        yield _line(_entry_json(entry, actions_json))


def read_journal(lines: Iterable[bytes]) -> tuple[Json, Iterator[Entry]]:
    """The settings and the entries; what was planned stays JSON. Raises NoJournal, the iterator too."""
    numbered = enumerate(lines, start=1)
    header = _decoded(*next(numbered, (1, b"")))
    if header.get("what") != "journal" or header.get("format") != FORMAT:
        raise NoJournal(f"line 1: expected the header of a kaito journal of format {FORMAT}, got {str(header)[:80]!r}")
    return header["settings"], (_entry(number, _decoded(number, line)) for number, line in numbered)


def replay_entry(graph: StateGraph, entry: Entry) -> None:
    """Takes what was heard into the graph; what was decided changes nothing."""
    _, _, what, kind, ref, content = entry
    match what, kind, ref:
        case "listed", ResourceKind(), _:
            graph.apply(kind, Init())
            for ref, obj in content.items():
                graph.apply(kind, InitApply(ref, obj))
            graph.apply(kind, InitDone(ResourceVersion("")))
        case "applied", ResourceKind(), ObjectRef():
            graph.apply(kind, Apply(ref, content))
        case "deleted", ResourceKind(), ObjectRef():
            graph.apply(kind, Delete(ref, None))
        case "absent", ResourceKind(), _:
            graph.mark_absent(kind)
        case "named", ResourceKind(), ObjectRef():
            graph.apply_named(kind, ref, content)
        case "forgotten", ResourceKind(), ObjectRef():
            graph.forget_named(kind, ref)
        case "answered", _, ObjectRef():
            graph.record_answer(ref, *content)
        case "discovered", _, _:
            graph.capabilities = ServerCapabilities(tuple(content))
        case _:
            pass


def object_json(obj: Any) -> Json:
    """An object of a store as the API server would send what we keep of it."""
    if isinstance(obj, InvalidObject):
        return obj.raw
    if isinstance(obj, RootObject):
        kept = {"metadata": msgspec.to_builtins(obj.metadata), "status": obj.status}
        return kept | obj.model_dump(
            mode="json", by_alias=True, exclude_unset=True, exclude={"metadata", "status_json"}
        )
    found: Json = msgspec.json.decode(msgspec.json.encode(obj))
    return found


def _entry_json(entry: Entry, actions_json: Callable[[Any], list[Json]]) -> Json:
    found: Json = {"seq": entry.seq, "at": entry.at.isoformat(), "what": entry.what}
    if entry.kind is not None:
        found["kind"] = entry.kind.kind
    if entry.ref is not None:
        found["ref"] = list(entry.ref)
    match entry.what:
        case "listed":
            found["objects"] = [object_json(obj) for obj in entry.content.values()]
        case "applied" | "named":
            found["object"] = None if entry.content is None else object_json(entry.content)
        case "planned":
            found["actions"] = actions_json(entry.content)
        case "answered":
            key, answer = entry.content
            found |= {"key": key, "text": answer.text, "error": answer.error, "answered_at": answer.at.isoformat()}
        case "discovered" | "ended":
            found["content"] = entry.content
        case _:
            pass
    return found


def _entry(number: int, line: Json) -> Entry:
    try:
        kind = ROWS[line["kind"]].kind if "kind" in line else None
        ref = ObjectRef(*line["ref"]) if "ref" in line else None
        return Entry(
            line["seq"], datetime.fromisoformat(line["at"]), line["what"], kind, ref, _content(line, kind, ref)
        )
    except (KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
        raise NoJournal(f"line {number} is no entry of a journal: {type(error).__name__} {error}") from error


def _content(line: Json, kind: ResourceKind | None, ref: ObjectRef | None) -> Any:
    match line["what"]:
        case "listed" if kind:
            objects = [_object(kind, raw) for raw in line["objects"]]
            return {kind.ref(*_place(raw)): obj for raw, obj in zip(line["objects"], objects, strict=True)}
        case "applied" | "named" if kind and ref:
            return None if line["object"] is None else _object(kind, line["object"])
        case "planned":
            return line["actions"]
        case "answered":
            return line["key"], Answer(line["text"], datetime.fromisoformat(line["answered_at"]), line["error"])
        case _:
            return line.get("content")


def _place(raw: Json) -> tuple[str, str]:
    return raw["metadata"].get("namespace", ""), raw["metadata"]["name"]


def _object(kind: ResourceKind, raw: Json) -> Any:
    row = ROWS[kind.kind]
    wire = from_json(raw, row.wire)
    return wire if row.decode is None else row.decode(wire)


def _decoded(number: int, line: bytes) -> Json:
    try:
        found = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise NoJournal(f"line {number} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise NoJournal(f"line {number}: expected an object, got {str(found)[:80]!r}")
    return found


def _line(found: Json) -> bytes:
    return msgspec.json.encode(found, order="deterministic") + b"\n"
