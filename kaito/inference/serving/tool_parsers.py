"""Tool calls in a model's own notation, found in text that comes in pieces. Pure.

Every notation is one row: the mark that a call begins with, the one that it ends with, how what is between is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from kaito.inference.stops import StopMatcher


@dataclass(frozen=True, slots=True)
class Called:
    name: str
    arguments: str  # JSON


Read: TypeAlias = Callable[[str], list[Called]]  # raises ValueError for what is no call


@dataclass(frozen=True, slots=True)
class Notation:
    """`end` empty: to the answer's end. `start` empty: the whole answer, where it begins with one of `openings`."""

    start: str
    end: str
    read: Read
    openings: tuple[str, ...] = ()


def _from_object(value: Any, arguments: str) -> Called:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError("no name")
    found = value.get(arguments, value.get("arguments", value.get("parameters", {})))
    return Called(value["name"], found if isinstance(found, str) else json.dumps(found, ensure_ascii=False))


def read_object(text: str) -> list[Called]:
    return [_from_object(json.loads(text), "arguments")]


def read_list(text: str) -> list[Called]:
    values = json.loads(text)
    return [_from_object(value, "arguments") for value in (values if isinstance(values, list) else [values])]


def read_llama(text: str) -> list[Called]:
    """One object, or several with semicolons between them."""
    decoder, found, rest = json.JSONDecoder(), [], text.strip().removeprefix("<|python_tag|>").strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(_from_object(value, "parameters"))
        rest = rest[end:].lstrip(" ;\n")
    if not found:
        raise ValueError("nothing")
    return found


HERMES = Notation("<tool_call>", "</tool_call>", read_object)
MISTRAL = Notation("[TOOL_CALLS]", "", read_list)
# By vLLM's names of the parsers.
TOOL_PARSERS: dict[str, Notation] = {
    "hermes": HERMES,
    "granite": Notation("<|tool_call|>", "", read_list),
    "granite-20b-fc": Notation("<function_call>", "", read_object),
    "internlm": Notation("<|action_start|><|plugin|>", "<|action_end|>", read_object),
    "jamba": Notation("<tool_calls>", "</tool_calls>", read_list),
    "lfm2": Notation("<|tool_call_start|>", "<|tool_call_end|>", read_list),
    "llama3_json": Notation("", "", read_llama, ("{", "<|python_tag|>")),
    "llama4_json": Notation("", "", read_llama, ("{", "<|python_tag|>")),
    "longcat": Notation("<longcat_tool_call>", "</longcat_tool_call>", read_object),
    "mistral": MISTRAL,
    "phi4_mini_json": Notation("functools", "", read_list),
    "xlam": Notation("", "", read_list, ("[", "{")),
}


class ToolSplitter:
    """`feed` gives (text, calls). A call that cannot be read stays text."""

    def __init__(self, notation: Notation) -> None:
        self._notation = notation
        self._body: list[str] | None = [] if not notation.start else None  # of the call that is being written
        self._start = StopMatcher((notation.start,) if notation.start else ())
        self._end = StopMatcher((notation.end,) if notation.end else ())
        self._is_decided = bool(notation.start)

    def feed(self, text: str) -> tuple[str, list[Called]]:
        if self._body is None:
            return self._outside(text)
        if not self._is_decided:
            return self._undecided(text)
        return self._inside(text)

    def flush(self) -> tuple[str, list[Called]]:
        """What was held back, when nothing follows."""
        if self._body is None:
            return self._start.flush(), []
        body = "".join(self._body) + self._end.flush()
        self._body = None
        if not body.strip() and not self._notation.start:
            return body, []
        return self._read(body, is_whole=not self._notation.end)

    def _undecided(self, text: str) -> tuple[str, list[Called]]:
        """Without a start mark: whether the answer as a whole is a call."""
        assert self._body is not None
        self._body.append(text)
        begun = "".join(self._body).lstrip()
        if not begun or any(opening.startswith(begun) and opening != begun for opening in self._notation.openings):
            return "", []
        self._is_decided = True
        if begun.startswith(self._notation.openings):
            return "", []
        released, self._body = "".join(self._body), None  # ordinary text, to its end
        return released, []

    def _outside(self, text: str) -> tuple[str, list[Called]]:
        passed, met = self._start.feed(text)
        if not met:
            return passed, []
        self._body = []
        more, calls = self._inside(self._start.rest)
        return passed + more, calls

    def _inside(self, text: str) -> tuple[str, list[Called]]:
        assert self._body is not None
        passed, met = self._end.feed(text)
        self._body.append(passed)
        if not met:
            return "", []
        body, self._body = "".join(self._body), None
        more, calls = self._read(body, is_whole=True)
        after, others = self._outside(self._end.rest)
        return more + after, calls + others

    def _read(self, body: str, *, is_whole: bool) -> tuple[str, list[Called]]:
        try:
            return "", self._notation.read(body)
        except ValueError:
            return self._notation.start + body + (self._notation.end if is_whole else ""), []
