"""Tool calls in tags: a name, then parameters one by one, or arguments as JSON between two marks. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from kaito.inference.serving.call_readers import CallDelta, NotACall
from kaito.inference.stops import StopMatcher

Schemas: TypeAlias = Mapping[str, Mapping[str, Any]]  # of functions' parameters, by the functions' names
JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


@dataclass(frozen=True, slots=True)
class Tags:
    """`call`: from a call's beginning to its arguments, with groups `name` and maybe `id`.

    `parameter`: from a parameter's beginning to its value, with groups `key` and maybe `string` ("true": the value is
    text, "false": JSON). None: the arguments are JSON up to `call_end`. Empty `call_end`: to the notation's own end.
    `bare`: a call without parameters, where the notation ends right after its name.
    """

    call: re.Pattern[str]
    call_end: str = ""
    parameter: re.Pattern[str] | None = None
    parameter_end: str = ""
    bare: re.Pattern[str] | None = None
    trims_newlines: bool = False  # one before and one after a value are the notation's


class TaggedCalls:
    """Text values stream as they are written; others come when they are complete, as their schema has them."""

    def __init__(self, tags: Tags, schemas: Schemas) -> None:
        self._tags, self._schemas = tags, schemas
        self._buffer = ""
        self._state = "between"  # between, call, value or raw
        self._calls = 0
        self._properties: Mapping[str, Any] = {}
        self._is_first = True
        self._end = StopMatcher(())
        self._text: _TextValue | None = None  # a value that streams …
        self._pieces: list[str] = []  # … or one that is gathered
        self._types: frozenset[str] = frozenset()

    def feed(self, text: str) -> list[CallDelta]:
        self._buffer += text
        found: list[CallDelta] = []
        while self._buffer and self._step(found):
            pass
        return found

    def finish(self, *, is_whole: bool) -> list[CallDelta]:
        found: list[CallDelta] = []
        if self._state == "between" and not self._calls:
            bare = self._tags.bare.fullmatch(self._buffer) if self._tags.bare and is_whole else None
            if bare is None:
                raise NotACall(self._buffer)
            return [CallDelta("{}", bare["name"])]
        if self._state in ("value", "raw"):
            self._take(found, self._end.flush(), is_last=is_whole)
        if is_whole and self._state in ("call", "value") and self._tags.parameter:
            found.append(CallDelta("}"))
        self._state = "between"
        return found

    def _step(self, found: list[CallDelta]) -> bool:
        match self._state:
            case "between":
                return self._begin(found)
            case "call":
                return self._next_parameter(found)
        passed, met = self._end.feed(self._buffer)
        self._buffer = self._end.rest if met else ""
        self._take(found, passed, is_last=bool(met))
        if met:
            self._state = "between" if self._state == "raw" else "call"
        return bool(met)

    def _begin(self, found: list[CallDelta]) -> bool:
        head = self._tags.call.search(self._buffer)
        if head is None:
            return False
        self._buffer = self._buffer[head.end() :]
        self._calls += 1
        name, groups = head["name"].strip(), head.groupdict()
        found.append(CallDelta("{" if self._tags.parameter else "", name, groups.get("id") or ""))
        self._properties = self._schemas.get(name, {}).get("properties") or {}
        self._is_first = True
        self._state = "call" if self._tags.parameter else "raw"
        if self._state == "raw":
            self._end = StopMatcher((self._tags.call_end,) if self._tags.call_end else ())
        return True

    def _next_parameter(self, found: list[CallDelta]) -> bool:
        assert self._tags.parameter is not None
        head = self._tags.parameter.search(self._buffer)
        over = self._buffer.find(self._tags.call_end) if self._tags.call_end else -1
        if over >= 0 and (head is None or over < head.start()):
            self._buffer = self._buffer[over + len(self._tags.call_end) :]
            found.append(CallDelta("}"))
            self._state = "between"
            return True
        if head is None:
            return False
        self._buffer = self._buffer[head.end() :]
        key = head["key"].strip()
        found.append(CallDelta(("" if self._is_first else ", ") + json.dumps(key, ensure_ascii=False) + ": "))
        self._is_first, self._state = False, "value"
        self._end = StopMatcher((self._tags.parameter_end,))
        says = head.groupdict().get("string")
        self._types = types_of(self._properties.get(key))
        streams = says == "true" or (says is None and self._types == {"string"})
        self._text, self._pieces = (_TextValue(self._tags.trims_newlines) if streams else None), []
        return True

    def _take(self, found: list[CallDelta], text: str, *, is_last: bool) -> None:
        if self._state == "raw":
            if text:
                found.append(CallDelta(text))
        elif self._text is not None:
            if piece := self._text.feed(text, is_last=is_last):
                found.append(CallDelta(piece))
        else:
            self._pieces.append(text)
            if is_last:
                value = "".join(self._pieces)
                if self._tags.trims_newlines:
                    value = value.removeprefix("\n").removesuffix("\n")
                found.append(CallDelta(as_json(value, self._types)))


class _TextValue:
    """A text as a JSON string, piece by piece."""

    def __init__(self, trims_newlines: bool) -> None:
        self._trims = trims_newlines
        self._is_open = False
        self._newline = ""  # may be the notation's own

    def feed(self, text: str, *, is_last: bool) -> str:
        said = "" if self._is_open else '"'
        if self._trims and not self._is_open and text:
            text = text.removeprefix("\n")
        self._is_open = self._is_open or bool(text) or is_last or not self._trims
        if not self._is_open:
            return ""
        text = self._newline + text
        self._newline = "\n" if self._trims and text.endswith("\n") else ""
        text = text[: len(text) - len(self._newline)]
        return said + json.dumps(text, ensure_ascii=False)[1:-1] + ('"' if is_last else "")


def types_of(schema: Any) -> frozenset[str]:
    """The JSON types that a property may have; empty where its schema does not say."""
    if not isinstance(schema, Mapping):
        return frozenset()
    given = schema.get("type")
    if isinstance(given, str):
        return frozenset({given})
    if isinstance(given, list):
        return frozenset(map(str, given))
    values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    found = {JSON_TYPES.get(type(value), "null") for value in values}
    for option in (*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())):
        found |= types_of(option) or {"any"}
    return frozenset() if "any" in found else frozenset(found)


def as_json(text: str, types: frozenset[str]) -> str:
    """A value's text as JSON of one of these types where it can be read so, else as a string."""
    stripped = text.strip()
    stripped = {"True": "true", "False": "false", "None": "null"}.get(stripped, stripped)
    try:
        value = json.loads(stripped)
    except ValueError:
        return json.dumps(text, ensure_ascii=False)
    kind = JSON_TYPES.get(type(value), "null")
    fits = not types or kind in types or (kind == "integer" and "number" in types)
    if not fits and "string" in types:
        return json.dumps(text, ensure_ascii=False)
    return stripped
