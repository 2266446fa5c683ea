"""Gemma's tool calls: `call:NAME{key:<|"|>text<|"|>,n:42,list:[…]}`, turned into JSON as they come. Pure."""

from __future__ import annotations

import json
import re

from kaito.inference.serving.call_readers import CallDelta, NotACall
from kaito.inference.stops import StopMatcher

HEAD = re.compile(r"\s*call:\s*(?P<name>[\w.-]+)\s*(?=\{)")
HEAD_MAX = 512  # characters: what is longer is no name
LITERAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null")


class GemmaCalls:
    """`quote`: the mark on both sides of a text."""

    def __init__(self, quote: str) -> None:
        self._quote = quote
        self._buffer = ""
        self._arguments: _Arguments | None = None
        self._calls = 0

    def feed(self, text: str) -> list[CallDelta]:
        self._buffer += text
        found: list[CallDelta] = []
        while self._buffer:
            if self._arguments is None:
                head = HEAD.match(self._buffer)
                if head is None:
                    if len(self._buffer) > HEAD_MAX:
                        raise NotACall(self._buffer, found)
                    break
                self._buffer = self._buffer[head.end() :]
                self._arguments = _Arguments(self._quote)
                self._calls += 1
                found.append(CallDelta("", head["name"]))
            said, self._buffer = self._arguments.feed(self._buffer)
            if said:
                found.append(CallDelta(said))
            if not self._arguments.is_done:
                break
            self._arguments = None
        return found

    def finish(self, *, is_whole: bool) -> list[CallDelta]:
        if self._buffer.strip() or not self._calls:
            raise NotACall(self._buffer)
        return []


class _Arguments:
    """One value in braces; `feed` gives its JSON, and the text that is not used (yet)."""

    def __init__(self, quote: str) -> None:
        self._quote = quote
        self._open: list[str] = []  # brackets
        self._is_key = False  # whether what comes next in an object is a key
        self._word = ""  # a key or a value without quotes
        self._text: StopMatcher | None = None
        self.is_done = False

    def feed(self, text: str) -> tuple[str, str]:
        said: list[str] = []
        while text and not self.is_done:
            if self._text is not None:
                passed, met = self._text.feed(text)
                text = self._text.rest if met else ""
                said.append(json.dumps(passed, ensure_ascii=False)[1:-1])
                if met:
                    said.append('"')
                    self._text = None
            elif text.startswith(self._quote):
                self._text, text = StopMatcher((self._quote,)), text[len(self._quote) :]
                said.append('"')
            elif self._quote.startswith(text):
                break  # may become the mark
            else:
                said.append(self._character(text[0]))
                text = text[1:]
        return "".join(said), text

    def _character(self, character: str) -> str:
        if character in "{[":
            self._open.append(character)
            self._is_key = character == "{"
            return character
        if character in "}]":
            word = self._ended()
            if self._open:
                self._open.pop()
            self.is_done = not self._open
            self._is_key = False
            return word + character
        if character == ",":
            word = self._ended()
            self._is_key = bool(self._open) and self._open[-1] == "{"
            return word + ", "
        if character == ":" and self._is_key:
            word = self._ended()
            self._is_key = False
            return word + ": "
        self._word += character
        return ""

    def _ended(self) -> str:
        """The word so far as JSON; nothing where a text was."""
        word, self._word = self._word.strip(), ""
        if not word:
            return ""
        return word if not self._is_key and LITERAL.fullmatch(word) else json.dumps(word, ensure_ascii=False)
