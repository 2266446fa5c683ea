"""Reasoning and tool calls in text that comes in pieces."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.inference.serving.call_readers import CallDelta
from kaito.inference.serving.harmony import HarmonySplitter
from kaito.inference.serving.reasoning import REASONING_PARSERS, THINK, Marks, ReasoningSplitter
from kaito.inference.serving.tool_parsers import TOOL_PARSERS, ToolSplitter
from kaito.plan.catalog.presets import presets

PLAIN_MARKS = {name for name, marks in REASONING_PARSERS.items() if not marks.is_harmony and not marks.is_kept}
PLACES = st.lists(st.integers(0, 999), max_size=6)
PLAIN = st.text(alphabet="abc xyz.\n", max_size=12)


def cut(text: str, places: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in pairwise(edges)]


def reasoned(marks: Marks, pieces: list[str]) -> tuple[str, str]:
    splitter = ReasoningSplitter(marks)
    parts = [*(splitter.feed(piece) for piece in pieces), splitter.flush()]
    return "".join(part[0] for part in parts), "".join(part[1] for part in parts)


def deltas(parser: str, pieces: list[str]) -> list[tuple[str, list[CallDelta]]]:
    splitter = ToolSplitter(TOOL_PARSERS[parser], SCHEMAS)
    return [*(splitter.feed(piece) for piece in pieces), splitter.flush()]


def called(parser: str, pieces: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """(text, (name, arguments) of every call)."""
    parts = deltas(parser, pieces)
    calls: list[tuple[str, str]] = []
    for delta in (delta for part in parts for delta in part[1]):
        if delta.name:
            calls.append((delta.name, delta.arguments))
        else:
            calls[-1] = (calls[-1][0], calls[-1][1] + delta.arguments)
    return "".join(part[0] for part in parts), calls


@given(st.sampled_from(sorted(PLAIN_MARKS)), PLAIN, PLAIN, PLACES)
def test_reasoning_comes_apart_wherever_the_text_is_cut(parser: str, thought: str, answer: str, places: list[int]):
    marks = REASONING_PARSERS[parser]
    text = marks.start + thought + marks.end + answer
    assert reasoned(marks, cut(text, places)) == (thought, answer)


@given(PLAIN, PLACES)
def test_an_answer_without_marks_is_an_answer_and_an_open_template_reasons_on(text: str, places: list[int]):
    assert reasoned(THINK, cut(text, places)) == ("", text)
    assert reasoned(REASONING_PARSERS["deepseek_r1"], cut(text, places)) == (text, "")


SCHEMAS = {
    "f": {
        "type": "object",
        "properties": {
            "a": {"type": "array"},
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "near": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
    },
    "g": {"type": "object"},
}
# Two calls in every notation: f with a list, a text, a number and a null, then g without arguments.
CITY = 'Zürich "<b>" \\ {x}'
F = {"a": [1, {"b": "]"}], "city": CITY, "days": 3, "near": None}
F_JSON = json.dumps(F, ensure_ascii=False)
LIST = json.dumps([{"name": "f", "arguments": F}, {"name": "g", "arguments": {}}])
DSML = (
    '\n<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="a" string="false">[1, {"b": "]"}]</｜DSML｜parameter>\n'
    f'<｜DSML｜parameter name="city" string="true">{CITY}</｜DSML｜parameter>\n'
    '<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>'
    '<｜DSML｜parameter name="near">null</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
    '<｜DSML｜invoke name="g">\n</｜DSML｜invoke>\n'
)
QWEN = (
    f'<tool_call>\n<function=f>\n<parameter=a>\n[1, {{"b": "]"}}]\n</parameter>'
    f"\n<parameter=city>\n{CITY}\n</parameter>\n"
    "<parameter=days>\n3\n</parameter>\n<parameter=near>\nnull\n</parameter>\n</function>\n</tool_call>"
    "<tool_call>\n<function=g>\n</function>\n</tool_call>"
)
GEMMA = "call:f{a:[1,{b:@]@}],city:@%s@,days:3,near:null}" % CITY  # noqa: UP031
DEEPSEEK = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>%s\n```json\n%s\n```<｜tool▁call▁end｜>"
KIMI = "<|tool_call_begin|>functions.%s:0<|tool_call_argument_begin|>%s<|tool_call_end|>"
HERMES = f'<tool_call>\n{{"name": "f", "arguments": {F_JSON}}}\n</tool_call><tool_call>{{"name": "g"}}</tool_call>'
CALLS = {
    "deepseek_v3": f"<｜tool▁calls▁begin｜>{DEEPSEEK % ('f', F_JSON)}\n{DEEPSEEK % ('g', '{}')}<｜tool▁calls▁end｜>",
    "deepseek_v31": (
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{F_JSON}<｜tool▁call▁end｜>"
        "<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
    "deepseek_v32": f"<｜DSML｜function_calls>{DSML}</｜DSML｜function_calls>",
    "deepseek_v4": f"<｜DSML｜tool_calls>{DSML}</｜DSML｜tool_calls>",
    "functiongemma": "".join(
        f"<start_function_call>{call}<end_function_call>" for call in (GEMMA.replace("@", "<escape>"), "call:g{}")
    ),
    "gemma4": "".join(f"<|tool_call>{call}<tool_call|>" for call in (GEMMA.replace("@", '<|"|>'), "call:g{}")),
    "glm47": (
        '<tool_call>f<arg_key>a</arg_key><arg_value>[1, {"b": "]"}]</arg_value><arg_key>city</arg_key>'
        f"<arg_value>{CITY}</arg_value>\n<arg_key>days</arg_key><arg_value>3</arg_value>"
        "<arg_key>near</arg_key><arg_value>null</arg_value></tool_call><tool_call>g</tool_call>"
    ),
    "granite": "<|tool_call|>" + LIST,
    "granite4": HERMES,
    "hermes": HERMES,
    "jamba": f"<tool_calls>{LIST}</tool_calls>",
    "kimi_k2": (f"<|tool_calls_section_begin|>{KIMI % ('f', F_JSON)}{KIMI % ('g', '{}')}<|tool_calls_section_end|>"),
    "lfm2": f"<|tool_call_start|>[f(a={F['a']!r}, city={CITY!r}, days=3, near=None), g()]<|tool_call_end|>",
    "llama3_json": f'{{"name": "f", "parameters": {F_JSON}}}; {{"name": "g", "parameters": {{}}}}',
    "minimax_m2": (
        '<minimax:tool_call><invoke name="f">\n<parameter name="a">[1, {"b": "]"}]</parameter>\n'
        f'<parameter name="city">{CITY}</parameter>\n<parameter name="days">3</parameter>\n'
        '<parameter name="near">null</parameter>\n</invoke>\n<invoke name="g">\n</invoke></minimax:tool_call>'
    ),
    "mistral": "[TOOL_CALLS]" + LIST,
    "phi4_mini_json": "functools" + LIST,
    "pythonic": f"[f(a={F['a']!r}, city={CITY!r}, days=3, near=None), g()]",
    "qwen3_coder": QWEN,
    "xlam": LIST,
}
MISTRAL_NEW = f"[TOOL_CALLS]f[ARGS]{F_JSON}[TOOL_CALLS]g[CALL_ID]abc[ARGS]{{}}"


def test_every_parser_of_the_catalogue_is_here():
    for preset in presets().values():
        assert preset.tool_parser in ("", *TOOL_PARSERS), preset
        assert preset.reasoning_parser in ("", *REASONING_PARSERS), preset


@pytest.mark.parametrize(("parser", "text"), [*sorted(CALLS.items()), ("mistral", MISTRAL_NEW)])
@given(places=PLACES)
def test_calls_are_found_wherever_the_text_is_cut(parser: str, text: str, places: list[int]):
    left, calls = called(parser, cut(text, places))
    assert (left.strip(), [(name, json.loads(arguments)) for name, arguments in calls]) == ("", [("f", F), ("g", {})])


@pytest.mark.parametrize(("parser", "text"), [*sorted(CALLS.items()), ("mistral", MISTRAL_NEW)])
def test_arguments_stream_as_they_are_written(parser: str, text: str):
    """A character at a time: the name comes before the arguments end, and they come in many deltas."""
    parts = deltas(parser, list(text))
    of_f = [delta for part in parts for delta in part[1]][:-1]
    if parser not in ("lfm2", "pythonic"):  # Python's syntax is read whole
        assert of_f[0].name == "f" and len(of_f) > 20
        assert len(json.dumps(CITY)) < sum(len(delta.arguments) for delta in of_f[:-3])


def test_a_models_own_id_of_a_call_is_kept():
    assert [delta.id for part in deltas("kimi_k2", [CALLS["kimi_k2"]]) for delta in part[1] if delta.name] == [
        "functions.f:0",
        "functions.g:0",
    ]


@given(PLAIN, PLAIN, PLACES)
def test_text_around_calls_stays_and_calls_keep_their_order(before: str, after: str, places: list[int]):
    text = before + CALLS["hermes"] + after
    passed, calls = called("hermes", cut(text, places))
    assert passed == before + after
    assert [name for name, _ in calls] == ["f", "g"]


def test_an_answer_that_is_cut_off_gives_the_arguments_so_far():
    for parser in ("hermes", "qwen3_coder", "gemma4", "deepseek_v4", "llama3_json", "glm47"):
        text = CALLS[parser]
        _, calls = called(parser, list(text[: text.index("<b>")]))
        ((name, arguments),) = calls
        assert name == "f" and F_JSON.replace(" ", "").startswith(arguments.replace(" ", ""))


HARMONY = (
    "<|channel|>analysis<|message|>Think < hard.<|end|><|start|>assistant<|channel|>commentary to=functions.f "
    f"<|constrain|>json<|message|>{F_JSON}<|call|><|start|>assistant to=functions.g<|channel|>commentary json"
    "<|message|>{}<|call|><|start|>assistant<|channel|>final<|message|>Done."
)


@given(PLACES)
def test_harmony_comes_apart_wherever_the_text_is_cut(places: list[int]):
    splitter = HarmonySplitter()
    parts = [*(splitter.feed(piece) for piece in cut(HARMONY, places)), splitter.flush()]
    assert "".join(part[0] for part in parts) == "Think < hard."
    assert "".join(part[1] for part in parts) == "Done."
    found = [delta for part in parts for delta in part[2]]
    assert [delta.name for delta in found if delta.name] == ["f", "g"]
    assert json.loads("".join(delta.arguments for delta in found).removesuffix("{}")) == F


@given(PLAIN, PLACES)
def test_a_model_that_does_not_speak_harmony_is_understood(text: str, places: list[int]):
    splitter = HarmonySplitter()
    parts = [*(splitter.feed(piece) for piece in cut(text, places)), splitter.flush()]
    assert "".join(part[1] for part in parts) == text


def test_the_prompts_end_says_whether_reasoning_is_open():
    marks = REASONING_PARSERS["qwen3"]
    assert marks.after("<|im_start|>assistant\n<think>\n").is_open
    assert not marks.after("<|im_start|>assistant\n").is_open
    assert not REASONING_PARSERS["deepseek_r1"].after("<think>\n\n</think>\n\n").is_open
    assert REASONING_PARSERS["deepseek_r1"].after("<|Assistant|>").is_open


def test_a_call_ends_reasoning_that_was_not_closed():
    splitter = ReasoningSplitter(replace(THINK, is_open=True), "<tool_call>")
    assert splitter.feed("I shall call.<tool_call>{") == ("I shall call.", "<tool_call>{")


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        ("hermes", "<tool_call>not json</tool_call> and on"),
        ("hermes", "no call, a < b"),
        ("hermes", '<tool_call>{"name": "f"'),
        ("llama3_json", "{ not json"),
        ("llama3_json", "plain {"),
        ("mistral", "[TOOL_CALLS] nothing"),
        ("qwen3_coder", "<tool_call>what?</tool_call> and on"),
        ("gemma4", "<|tool_call>f()<tool_call|>."),
        ("pythonic", "[1, 2]"),
        ("jamba", '<tool_calls>[{"no": "name"}]</tool_calls>'),
        ("xlam", ""),
    ],
)
def test_what_is_no_call_stays_text(parser: str, text: str):
    for size in (1, 3, 100):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert called(parser, pieces) == (text, [])
