"""Tool calls read from text that comes in pieces: a call begins once its name is known, its arguments follow. Pure.

A reader gets the text between a notation's marks. What it gives out are deltas, so that arguments stream as they are
written; in what is no call it raises NotACall before it has given out anything of it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CallDelta:
    """`name` given: a call begins. `arguments`: more of its JSON. `id`: the model's own, where its notation has one."""

    arguments: str = ""
    name: str = ""
    id: str = ""


class NotACall(ValueError):
    """`rest`: what belongs to no call. `found`: what came before it in the same piece."""

    def __init__(self, rest: str, found: list[CallDelta] | None = None) -> None:
        super().__init__(rest)
        self.rest, self.found = rest, found or []


class CallReader(Protocol):
    def feed(self, text: str) -> list[CallDelta]:
        """Raises NotACall."""

    def finish(self, *, is_whole: bool) -> list[CallDelta]:
        """No more text follows; `is_whole`: because the notation's end came. Raises NotACall."""


class JsonValue:
    """Where one JSON value ends, in text that comes in pieces. What is inside is not checked."""

    __slots__ = ("_depth", "_has_begun", "_is_escaped", "_is_string", "is_done")

    def __init__(self) -> None:
        self._depth = 0
        self._is_string = self._is_escaped = self._has_begun = self.is_done = False

    def feed(self, text: str, at: int) -> int:
        """The place after what belongs to the value."""
        for place in range(at, len(text)):
            character = text[place]
            if self._is_string:
                self._inside_string(character)
                if self.is_done:
                    return place + 1
            elif character == '"':
                self._is_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                self.is_done = self._depth <= 0
                if self.is_done:
                    return place + (self._depth == 0)  # a number ends before its parent's bracket
            elif not self._depth:
                if character in ",; \t\r\n" and self._has_begun:
                    self.is_done = True
                    return place
                self._has_begun = self._has_begun or not character.isspace()
        return len(text)

    def _inside_string(self, character: str) -> None:
        if self._is_escaped:
            self._is_escaped = False
        elif character == "\\":
            self._is_escaped = True
        elif character == '"':
            self._is_string = False
            self.is_done = not self._depth


KEY = re.compile(r'[\s,]*(?P<key>"(?:[^"\\]|\\.)*")\s*:\s*(?=\S)', re.DOTALL)
KEY_BEGUN = re.compile(r'[\s,]*(?:"(?:[^"\\]|\\.)*(?:\\|"\s*(?::\s*)?)?)?\Z', re.DOTALL)
BETWEEN = " \t\r\n,;[]"
ARGUMENTS = ("arguments", "parameters")


class JsonCalls:
    """`{"name": …, "arguments": …}`: one object, a list of them, or several with commas or semicolons between.

    Arguments are what the model wrote, character by character; where it wrote them as a string, the string's text.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix  # may come before the first object
        self._buffer = ""  # not understood yet, from the last object's end on where nothing of it has been given out
        self._is_inside = False
        self._name: str | None = None
        self._has_begun = False
        self._held = ""  # arguments that came before the name
        self._value: JsonValue | None = None
        self._key = ""
        self._raw = ""  # the value of a key other than the arguments, or arguments as a string
        self._consumed = ""  # of the object, as long as nothing has been given out

    def feed(self, text: str) -> list[CallDelta]:
        self._buffer += text
        found: list[CallDelta] = []
        try:
            while self._step(found):
                pass
        except NotACall as error:
            raise NotACall(error.rest, found) from error
        return found

    def finish(self, *, is_whole: bool) -> list[CallDelta]:
        if (self._is_inside and not self._has_begun) or self._buffer.strip(BETWEEN):
            raise NotACall(self._consumed + self._buffer)
        return []

    def _step(self, found: list[CallDelta]) -> bool:
        """One thing more; False where more text is needed."""
        if self._value is not None:
            return self._take_value(found, self._value)
        if not self._is_inside:
            return self._open()
        stripped = self._buffer.lstrip(" \t\r\n,")
        if stripped.startswith("}"):
            self._consume(len(self._buffer) - len(stripped) + 1)
            self._close(found)
            return True
        if met := KEY.match(self._buffer):
            self._key = json.loads(met["key"], strict=False)
            self._consume(met.end())
            self._value, self._raw = JsonValue(), ""
            return True
        if KEY_BEGUN.match(self._buffer):
            return False
        raise self._failure()

    def _open(self) -> bool:
        stripped = self._buffer.lstrip(BETWEEN)
        if self._prefix and (stripped.startswith(self._prefix) or self._prefix.startswith(stripped)):
            if len(stripped) < len(self._prefix):
                return False
            stripped = stripped[len(self._prefix) :].lstrip(BETWEEN)
        if not stripped:
            return False
        if not stripped.startswith("{"):
            raise self._failure()
        self._consume(len(self._buffer) - len(stripped) + 1)
        self._is_inside = True
        return True

    def _take_value(self, found: list[CallDelta], value: JsonValue) -> bool:
        end = value.feed(self._buffer, 0)
        piece = self._buffer[:end]
        self._consume(end)
        streams = self._key in ARGUMENTS and (self._raw or piece).lstrip()[:1] in ("{", "[")
        self._raw += piece
        if streams:
            self._say(found, piece)
        if not value.is_done:
            return False
        self._value = None
        if not streams:
            self._take_whole(found)
        return True

    def _take_whole(self, found: list[CallDelta]) -> None:
        """A value that is complete and was not streamed."""
        try:
            given = json.loads(self._raw, strict=False)
        except ValueError:
            raise self._failure() from None
        if self._key == "name" and isinstance(given, str) and not self._has_begun:
            self._name = given
            if self._held:
                held, self._held = self._held, ""
                self._say(found, held)
        elif self._key in ARGUMENTS and given is not None:
            self._say(found, given if isinstance(given, str) else self._raw)

    def _say(self, found: list[CallDelta], arguments: str) -> None:
        if self._name is None:
            self._held += arguments
        elif self._has_begun:
            found.append(CallDelta(arguments))
        else:
            self._has_begun, self._consumed = True, ""
            found.append(CallDelta(arguments, self._name))

    def _close(self, found: list[CallDelta]) -> None:
        if self._name is None:
            raise self._failure()
        if not self._has_begun:
            self._say(found, "{}")
        self._is_inside = self._has_begun = False
        self._name, self._held, self._consumed = None, "", ""

    def _consume(self, count: int) -> None:
        if not self._has_begun:
            self._consumed += self._buffer[:count]
        self._buffer = self._buffer[count:]

    def _failure(self) -> NotACall:
        return NotACall(self._consumed + self._buffer)


MISTRAL_HEAD = re.compile(
    r"[\s]*(?:\[TOOL_CALLS\])?\s*(?P<name>[\w.-]+)\s*(?:\[CALL_ID\](?P<id>[\w-]+))?\s*(?:\[ARGS\])?\s*(?=\{)"
)
MISTRAL_HEAD_MAX = 512  # characters: what is longer is no name


class MistralCalls:
    """`NAME[ARGS]{…}` with `[TOOL_CALLS]` before each next one, or the older list of objects."""

    def __init__(self) -> None:
        self._list: JsonCalls | None = None
        self._buffer = ""
        self._value: JsonValue | None = None

    def feed(self, text: str) -> list[CallDelta]:
        if self._list is not None:
            return self._list.feed(text)
        self._buffer += text
        begun = self._buffer.lstrip()
        if self._value is None and begun[:1] in ("{", "[") and not "[TOOL_CALLS]".startswith(begun[:12]):
            self._list = JsonCalls()
            return self._list.feed(self._buffer)
        found: list[CallDelta] = []
        while self._buffer:
            if self._value is None:
                head = MISTRAL_HEAD.match(self._buffer)
                if head is None:
                    if len(self._buffer) > MISTRAL_HEAD_MAX:
                        raise NotACall(self._buffer, found)
                    break
                self._buffer = self._buffer[head.end() :]
                self._value = JsonValue()
                found.append(CallDelta("", head["name"], head["id"] or ""))
            end = self._value.feed(self._buffer, 0)
            found.append(CallDelta(self._buffer[:end]))
            self._buffer = self._buffer[end:]
            if self._value.is_done:
                self._value = None
        return found

    def finish(self, *, is_whole: bool) -> list[CallDelta]:
        if self._list is not None:
            return self._list.finish(is_whole=is_whole)
        if self._buffer.strip():
            raise NotACall(self._buffer)
        return []
