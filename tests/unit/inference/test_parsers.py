"""Reasoning and tool calls in text that comes in pieces."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.inference.serving.reasoning import REASONING_PARSERS, THINK, Marks, ReasoningSplitter
from kaito.inference.serving.tool_parsers import TOOL_PARSERS, Called, ToolSplitter

PLACES = st.lists(st.integers(0, 999), max_size=6)
PLAIN = st.text(alphabet="abc xyz.\n", max_size=12)


def cut(text: str, places: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in pairwise(edges)]


def reasoned(marks: Marks, pieces: list[str]) -> tuple[str, str]:
    splitter = ReasoningSplitter(marks)
    parts = [*(splitter.feed(piece) for piece in pieces), splitter.flush()]
    return "".join(part[0] for part in parts), "".join(part[1] for part in parts)


def called(parser: str, pieces: list[str]) -> tuple[str, list[Called]]:
    splitter = ToolSplitter(TOOL_PARSERS[parser])
    parts = [*(splitter.feed(piece) for piece in pieces), splitter.flush()]
    return "".join(part[0] for part in parts), [call for part in parts for call in part[1]]


@given(st.sampled_from(sorted(REASONING_PARSERS)), PLAIN, PLAIN, PLACES)
def test_reasoning_comes_apart_wherever_the_text_is_cut(parser: str, thought: str, answer: str, places: list[int]):
    marks = REASONING_PARSERS[parser]
    text = marks.start + thought + marks.end + answer
    assert reasoned(marks, cut(text, places)) == (thought, answer)


@given(PLAIN, PLACES)
def test_an_answer_without_marks_is_an_answer_and_an_open_template_reasons_on(text: str, places: list[int]):
    assert reasoned(THINK, cut(text, places)) == ("", text)
    assert reasoned(REASONING_PARSERS["deepseek_r1"], cut(text, places)) == (text, "")


CALLS = {
    "hermes": '<tool_call>\n{"name": "f", "arguments": {"a": [1]}}\n</tool_call>',
    "llama3_json": '{"name": "f", "parameters": {"a": [1]}}',
    "mistral": '[TOOL_CALLS][{"name": "f", "arguments": {"a": [1]}}]',
    "phi4_mini_json": 'functools[{"name": "f", "arguments": {"a": [1]}}]',
    "granite": '<|tool_call|>[{"name": "f", "arguments": {"a": [1]}}]',
    "jamba": '<tool_calls>[{"name": "f", "arguments": {"a": [1]}}]</tool_calls>',
}


@pytest.mark.parametrize("parser", sorted(CALLS))
@given(places=PLACES)
def test_calls_are_found_wherever_the_text_is_cut(parser: str, places: list[int]):
    text, calls = called(parser, cut(CALLS[parser], places))
    assert (text, [(call.name, json.loads(call.arguments)) for call in calls]) == ("", [("f", {"a": [1]})])


@given(PLAIN, PLAIN, PLACES)
def test_text_around_calls_stays_and_calls_keep_their_order(before: str, after: str, places: list[int]):
    text = before + CALLS["hermes"] + '<tool_call>{"name": "g"}</tool_call>' + after
    passed, calls = called("hermes", cut(text, places))
    assert passed == before + after
    assert [call.name for call in calls] == ["f", "g"]


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        ("hermes", "<tool_call>not json</tool_call> and on"),
        ("hermes", "no call, a < b"),
        ("hermes", '<tool_call>{"name": "f"'),
        ("llama3_json", "{ not json"),
        ("llama3_json", "plain {"),
        ("mistral", "[TOOL_CALLS] nothing"),
        ("xlam", ""),
    ],
)
def test_what_is_no_call_stays_text(parser: str, text: str):
    for size in (1, 3, 100):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert called(parser, pieces) == (text, [])
