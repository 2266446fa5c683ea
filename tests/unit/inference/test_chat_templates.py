"""Chat templates of our own: the tools are told, and what a template writes of earlier calls, its parser reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from kaito.inference.arguments import parse
from kaito.inference.chat_templates import FOLDER
from kaito.plan.catalog import presets
from tests.unit.inference.test_parsers import F, called

OURS = {preset.chat_template: preset for preset in presets().values() if preset.chat_template}
TOOL = {"type": "function", "function": {"name": "f", "description": "say it", "parameters": {"type": "object"}}}
CALLS = [{"function": {"name": "f", "arguments": F}}, {"function": {"name": "g", "arguments": "{}"}}]
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]


def rendered(template: str, messages: list[dict[str, Any]], **variables: Any) -> str:
    """As transformers renders templates."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    text = (FOLDER / template).read_text(encoding="utf-8")
    return environment.from_string(text).render(messages=messages, bos_token="<s>", **variables)


def test_every_template_that_the_catalogue_names_is_here_and_none_is_unused() -> None:
    assert set(OURS) == {path.name for path in FOLDER.glob("*.jinja")}


@pytest.mark.parametrize("name", OURS)
def test_what_the_template_writes_of_calls_its_parser_reads(name: str) -> None:
    history = [*ASKED, {"role": "assistant", "content": None, "tool_calls": CALLS}]
    before = rendered(name, ASKED, add_generation_prompt=False)
    text = rendered(name, history, add_generation_prompt=False).removeprefix(before)
    _, calls = called(OURS[name].tool_parser, [text])
    assert [(name, json.loads(arguments)) for name, arguments in calls] == [("f", F), ("g", {})]


@pytest.mark.parametrize("name", OURS)
def test_the_tools_are_told_once_and_the_marks_are_asked_for(name: str) -> None:
    text = rendered(name, ASKED, tools=[TOOL], add_generation_prompt=True)
    assert text.count(json.dumps(TOOL["function"])) == 1 and text.count("Be brief.") == text.count("Hello?") == 1
    mark = "functools[" if "phi4" in name else "<｜tool▁calls▁begin｜>"
    assert mark in text and mark not in rendered(name, ASKED, add_generation_prompt=True)


@pytest.mark.parametrize("name", OURS)
def test_results_come_back_and_the_turn_is_the_models(name: str) -> None:
    results = [{"role": "tool", "content": "first"}, {"role": "tool", "content": "second"}]
    history = [*ASKED, {"role": "assistant", "content": "", "tool_calls": CALLS}, *results]
    text = rendered(name, history, tools=[TOOL], add_generation_prompt=True)
    assert text.index("first") < text.index("second")
    assert text.endswith("<|assistant|>" if "phi4" in name else "<｜tool▁output▁end｜><｜tool▁outputs▁end｜>")
    assert "functools" in text or text.count("<｜tool▁outputs▁begin｜>") == 2, "once in the instructions"


@pytest.mark.parametrize("name", OURS)
def test_a_plain_conversation_is_what_the_models_were_trained_on(name: str) -> None:
    talk = [*ASKED, {"role": "assistant", "content": "<think>hm</think>Hi."}, {"role": "user", "content": "And?"}]
    text = rendered(name, talk, add_generation_prompt=True)
    if "phi4" in name:
        assert text.endswith("Hi.<|end|><|user|>And?<|end|><|assistant|>")
        return
    opening = "<think>\n" if "r1" in name else ""
    assert (
        text
        == f"<s>Be brief.<｜User｜>Hello?<｜Assistant｜>Hi.<｜end▁of▁sentence｜><｜User｜>And?<｜Assistant｜>{opening}"
    )


def test_a_name_of_ours_is_a_file_for_every_engine_and_anything_else_stays(tmp_path: Path) -> None:
    def given(text: str) -> tuple[str, bool]:
        found = parse([f"--chat-template={text}", "--model=m"], {})
        return found.model.chat_template, f"--chat-template={found.model.chat_template}" in found.engine_args

    ours = str(FOLDER / "tool-chat-deepseekr1.jinja")
    assert (
        given("tool-chat-deepseekr1.jinja")
        == given("/workspace/chat_templates/tool-chat-deepseekr1.jinja")
        == (ours, True)
    )
    own = tmp_path / "tool-chat-deepseekr1.jinja"
    own.write_text("{{ messages }}")
    for text in (str(own), "{{ messages }}", "unknown.jinja"):
        assert given(text) == (text, True)
