"""Tool calls in a model's own notation, found in text that comes in pieces. Pure.

Every notation is one row: the mark that calls begin with, the one that they end with, who reads what is between.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from kaito.inference.serving.call_readers import CallDelta, CallReader, JsonCalls, MistralCalls, NotACall
from kaito.inference.serving.gemma_calls import GemmaCalls
from kaito.inference.serving.pythonic_calls import PythonicCalls
from kaito.inference.serving.tagged_calls import Schemas, TaggedCalls, Tags
from kaito.inference.stops import StopMatcher

Read: TypeAlias = Callable[[Schemas], CallReader]


@dataclass(frozen=True, slots=True)
class Notation:
    """`end` empty: to the answer's end. `start` empty: the whole answer, where it begins with one of `openings`.

    `is_harmony`: not for ToolSplitter, but for harmony.py, which takes calls, reasoning and answer apart at once.
    """

    start: str
    end: str
    read: Read
    openings: tuple[str, ...] = ()
    is_harmony: bool = False


def _json(_: Schemas) -> CallReader:
    return JsonCalls()


def _llama(_: Schemas) -> CallReader:
    return JsonCalls(prefix="<|python_tag|>")


def _mistral(_: Schemas) -> CallReader:
    return MistralCalls()


def _pythonic(_: Schemas) -> CallReader:
    return PythonicCalls()


def _gemma(quote: str) -> Read:
    return lambda _: GemmaCalls(quote)


def _tagged(
    call: str, call_end: str, parameter: str = "", parameter_end: str = "", *, bare: str = "", trims: bool = False
) -> Read:
    tags = Tags(
        re.compile(call, re.DOTALL),
        call_end,
        re.compile(parameter, re.DOTALL) if parameter else None,
        parameter_end,
        re.compile(bare) if bare else None,
        trims_newlines=trims,
    )
    return partial(TaggedCalls, tags)


_DSML = _tagged(
    r'<｜DSML｜invoke\s+name="(?P<name>[^"]+)"\s*>',
    "</｜DSML｜invoke>",
    r'<｜DSML｜parameter\s+name="(?P<key>[^"]+)"(?:\s+string="(?P<string>[^"]*)")?\s*>',
    "</｜DSML｜parameter>",
)
_MINIMAX = _tagged(
    r"<invoke\s+name\s*=\s*[\"']?(?P<name>[^\"'>]+)[\"']?\s*>",
    "</invoke>",
    r"<parameter\s+name\s*=\s*[\"']?(?P<key>[^\"'>]+)[\"']?\s*>",
    "</parameter>",
)
_GLM = _tagged(
    r"\s*(?P<name>[^<\s]+)\s*(?=<arg_key>)",
    "",
    r"<arg_key>(?P<key>.*?)</arg_key>\s*<arg_value>",
    "</arg_value>",
    bare=r"\s*(?P<name>[\w.-]+)\s*",
)
_QWEN = _tagged(r"<function=(?P<name>[^>]+)>", "</function>", r"<parameter=(?P<key>[^>]+)>", "</parameter>", trims=True)
_KIMI = _tagged(
    r"<\|tool_call_begin\|>\s*(?P<id>(?:functions\.)?(?P<name>[^:<\s]+)(?::\d+)?)\s*<\|tool_call_argument_begin\|>\s*",
    "<|tool_call_end|>",
)
_DEEPSEEK_V3 = _tagged(r"<｜tool▁call▁begin｜>\w*<｜tool▁sep｜>(?P<name>[^\n]+)\n```json\n", "\n```<｜tool▁call▁end｜>")
_DEEPSEEK_V31 = _tagged(r"<｜tool▁call▁begin｜>(?P<name>[^<]+)<｜tool▁sep｜>\s*", "<｜tool▁call▁end｜>")
_DEEPSEEK_MARKS = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")

HERMES = Notation("<tool_call>", "</tool_call>", _json)
QWEN3_CODER = Notation("<tool_call>", "</tool_call>", _QWEN)
GLM = Notation("<tool_call>", "</tool_call>", _GLM)
LLAMA = Notation("", "", _llama, ("{", "<|python_tag|>"))
HARMONY = Notation("<|channel|>", "", _json, is_harmony=True)
# The guided output of tool_choice "required": a list of calls, and nothing else.
REQUIRED = Notation("", "", _json, ("[",))
# By vLLM's names of the parsers.
TOOL_PARSERS: dict[str, Notation] = {
    "deepseek_v3": Notation(*_DEEPSEEK_MARKS, _DEEPSEEK_V3),
    "deepseek_v31": Notation(*_DEEPSEEK_MARKS, _DEEPSEEK_V31),
    "deepseek_v32": Notation("<｜DSML｜function_calls>", "</｜DSML｜function_calls>", _DSML),
    "deepseek_v4": Notation("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>", _DSML),
    "functiongemma": Notation("<start_function_call>", "<end_function_call>", _gemma("<escape>")),
    "gemma4": Notation("<|tool_call>", "<tool_call|>", _gemma('<|"|>')),
    "glm45": GLM,
    "glm47": GLM,
    "granite": Notation("<|tool_call|>", "", _json),
    "granite-20b-fc": Notation("<function_call>", "", _json),
    "granite4": HERMES,
    "hermes": HERMES,
    "internlm": Notation("<|action_start|><|plugin|>", "<|action_end|>", _json),
    "jamba": Notation("<tool_calls>", "</tool_calls>", _json),
    "kimi_k2": Notation("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", _KIMI),
    "lfm2": Notation("<|tool_call_start|>", "<|tool_call_end|>", _pythonic),
    "llama3_json": LLAMA,
    "llama4_json": LLAMA,
    "llama4_pythonic": Notation("", "", _pythonic, ("[",)),
    "longcat": Notation("<longcat_tool_call>", "</longcat_tool_call>", _json),
    "minimax_m2": Notation("<minimax:tool_call>", "</minimax:tool_call>", _MINIMAX),
    "mistral": Notation("[TOOL_CALLS]", "", _mistral),
    "olmo3": Notation("<function_calls>", "</function_calls>", _pythonic),
    "openai": HARMONY,
    "phi4_mini_json": Notation("functools", "", _json),
    "pythonic": Notation("", "", _pythonic, ("[",)),
    "qwen3_coder": QWEN3_CODER,
    "qwen3_xml": QWEN3_CODER,
    "xlam": Notation("", "", _json, ("[", "{")),
}


class ToolSplitter:
    """`feed` gives (text, deltas of calls). A call that cannot be read stays text."""

    def __init__(self, notation: Notation, schemas: Schemas) -> None:
        self._notation, self._schemas = notation, schemas
        self._reader: CallReader | None = None if notation.start else notation.read(schemas)
        self._body = ""  # what the reader got, until it gave something out
        self._has_begun = False
        self._start = StopMatcher((notation.start,) if notation.start else ())
        self._end = StopMatcher((notation.end,) if notation.end else ())
        self._is_decided = bool(notation.start)

    def feed(self, text: str) -> tuple[str, list[CallDelta]]:
        if self._reader is None:
            return self._outside(text)
        if not self._is_decided:
            return self._undecided(text, self._reader)
        return self._inside(text, self._reader)

    def flush(self) -> tuple[str, list[CallDelta]]:
        """What was held back, when nothing follows."""
        reader, self._reader = self._reader, None
        if reader is None:
            return self._start.flush(), []
        if not self._is_decided:
            return self._body, []
        found = self._given(reader, self._end.flush())
        return found if isinstance(found, tuple) else self._finished(reader, found, is_whole=not self._notation.end)

    def _undecided(self, text: str, reader: CallReader) -> tuple[str, list[CallDelta]]:
        """Without a start mark: whether the answer as a whole is a call."""
        self._body += text
        begun = self._body.lstrip()
        if not begun or any(opening.startswith(begun) and opening != begun for opening in self._notation.openings):
            return "", []
        self._is_decided = True
        body, self._body = self._body, ""
        if begun.startswith(self._notation.openings):
            return self._inside(body, reader)
        self._reader = None
        return body, []  # ordinary text, to its end

    def _outside(self, text: str) -> tuple[str, list[CallDelta]]:
        passed, met = self._start.feed(text)
        if not met:
            return passed, []
        self._reader, self._body, self._has_begun = self._notation.read(self._schemas), "", False
        more, calls = self._inside(self._start.rest, self._reader)
        return passed + more, calls

    def _inside(self, text: str, reader: CallReader) -> tuple[str, list[CallDelta]]:
        passed, met = self._end.feed(text)
        found = self._given(reader, passed)
        if isinstance(found, tuple):  # it is no call: text, up to here
            self._reader = None
            held = met or self._end.flush()
            after, others = self._outside(held + self._end.rest if met else held)
            return found[0] + after, found[1] + others
        if not met:
            return "", found
        self._reader = None
        said, calls = self._finished(reader, found, is_whole=True)
        after, others = self._outside(self._end.rest)
        return said + after, calls + others

    def _given(self, reader: CallReader, text: str) -> list[CallDelta] | tuple[str, list[CallDelta]]:
        """The deltas; or, where there is no call (any more), the text that this is."""
        if not self._has_begun:
            self._body += text
        try:
            found = reader.feed(text)
        except NotACall as error:
            self._has_begun = self._has_begun or bool(error.found)
            return self._as_text(error), error.found
        self._has_begun = self._has_begun or bool(found)
        return found

    def _finished(self, reader: CallReader, found: list[CallDelta], *, is_whole: bool) -> tuple[str, list[CallDelta]]:
        try:
            return "", found + reader.finish(is_whole=is_whole)
        except NotACall as error:
            text = self._as_text(error)
            return text + (self._notation.end if is_whole and not self._has_begun else ""), found

    def _as_text(self, error: NotACall) -> str:
        return error.rest if self._has_begun else self._notation.start + self._body
