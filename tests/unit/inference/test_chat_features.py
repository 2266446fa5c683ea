"""Tools, reasoning and responses through the official client, over an engine that says what the test wrote."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from kaito.inference.generation import Job
from kaito.inference.settings import ModelSettings
from tests.unit.inference.harness import NAME, serving

MESSAGES: Any = [{"role": "user", "content": "What is the weather in Oslo and Bergen?"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]
HERMES = ModelSettings(tool_call_parser="hermes", auto_tool_choice=True, reasoning_parser="qwen3")
SAID = (
    "<think>Two cities.</think>Let me look. "
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    '<tool_call>{"name": "weather", "arguments": {"city": "Bergen"}}</tool_call>'
)


def pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_calls_reasoning_and_text_come_apart_whole_and_streamed(size: int):
    async with serving(script=pieces(SAID, size), model=HERMES) as served:
        whole = await served.client.chat.completions.create(model=NAME, messages=MESSAGES, tools=TOOLS)
        message = whole.choices[0].message
        assert whole.choices[0].finish_reason == "tool_calls"
        assert message.content == "Let me look. " and message.reasoning == "Two cities."  # type: ignore[attr-defined]
        assert [json.loads(call.function.arguments)["city"] for call in message.tool_calls or []] == ["Oslo", "Bergen"]
        async with served.client.chat.completions.stream(model=NAME, messages=MESSAGES, tools=TOOLS) as stream:
            streamed = (await stream.get_final_completion()).choices[0]
        assert streamed.finish_reason == "tool_calls" and streamed.message.content == "Let me look. "
        assert [call.function.name for call in streamed.message.tool_calls or []] == ["weather", "weather"]
        assert [call.function.arguments for call in streamed.message.tool_calls or []] == [
            call.function.arguments for call in message.tool_calls or []
        ]


async def test_a_calls_arguments_stream_as_the_model_writes_them():
    said = (
        "<tool_call>\n<function=weather>\n<parameter=city>\nOslo in the north\n</parameter>\n</function>\n</tool_call>"
    )
    model = ModelSettings(tool_call_parser="qwen3_coder", auto_tool_choice=True)
    async with serving(script=list(said), model=model) as served:
        stream = await served.client.chat.completions.create(model=NAME, messages=MESSAGES, tools=TOOLS, stream=True)
        chunks = [chunk.choices[0] async for chunk in stream]
        calls = [call for choice in chunks for call in choice.delta.tool_calls or []]
        assert calls[0].id and calls[0].function and calls[0].function.name == "weather"
        assert all(call.index == 0 and not call.id for call in calls[1:]) and len(calls) > 15
        arguments = "".join(call.function.arguments or "" for call in calls if call.function)
        assert json.loads(arguments) == {"city": "Oslo in the north"}
        assert [choice.finish_reason for choice in chunks if choice.finish_reason] == ["tool_calls"]


async def test_gpt_oss_speaks_in_channels():
    said = (
        "<|channel|>analysis<|message|>Oslo.<|end|><|start|>assistant<|channel|>commentary to=functions.weather "
        '<|constrain|>json<|message|>{"city": "Oslo"}'
    )
    model = ModelSettings(tool_call_parser="openai", auto_tool_choice=True, reasoning_parser="openai_gptoss")
    async with serving(script=pieces(said, 5), model=model) as served:
        answer = await served.client.chat.completions.create(model=NAME, messages=MESSAGES, tools=TOOLS)
        choice = answer.choices[0]
        assert choice.finish_reason == "tool_calls" and choice.message.content is None
        assert choice.message.reasoning == "Oslo."  # type: ignore[attr-defined]
        (call,) = choice.message.tool_calls or []
        assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Oslo"}')  # type: ignore[union-attr]


async def test_marks_that_are_special_tokens_are_not_left_out_of_what_is_searched():
    model = ModelSettings(tool_call_parser="mistral", auto_tool_choice=True, reasoning_parser="qwen3")
    async with serving(script=["x"], model=model) as served:
        skipped: list[bool] = []
        submit = served.generator.submit

        async def watched(job: Job) -> None:
            skipped.append(job.sampling.skips_special)
            await submit(job)

        served.generator.submit = watched  # type: ignore[method-assign]
        served.generator.tokenizer.special_tokens = frozenset({"[TOOL_CALLS]", "</s>"})
        for options in ({}, {"tools": TOOLS}, {"tools": TOOLS, "extra_body": {"skip_special_tokens": True}}):
            await served.client.chat.completions.create(model=NAME, messages=MESSAGES, **options)
        assert skipped == [True, False, True]


async def test_guided_output_is_the_answer_of_a_model_that_would_reason_first():
    async with serving(script=['{"a": 1}'], model=ModelSettings(reasoning_parser="deepseek_r1")) as served:
        answer = await served.client.chat.completions.create(
            model=NAME, messages=MESSAGES, response_format={"type": "json_object"}
        )
        assert answer.choices[0].message.content == '{"a": 1}'


async def test_a_requests_own_template_needs_the_servers_trust():
    async with serving() as served:
        with pytest.raises(openai.BadRequestError, match="--trust-request-chat-template") as refused:
            await served.client.chat.completions.create(
                model=NAME, messages=MESSAGES, extra_body={"chat_template": "{{ messages }}"}
            )
        assert refused.value.param == "chat_template"


async def test_parallel_calls_can_be_forbidden():
    async with serving(script=[SAID], model=HERMES) as served:
        answer = await served.client.chat.completions.create(
            model=NAME, messages=MESSAGES, tools=TOOLS, parallel_tool_calls=False
        )
        assert len(answer.choices[0].message.tool_calls or []) == 1


async def test_a_named_function_and_required_ones_are_read_from_guided_output():
    async with serving(script=['{"city": ', '"Oslo"}']) as served:
        named: Any = {"type": "function", "function": {"name": "weather"}}
        answer = await served.client.chat.completions.create(
            model=NAME, messages=MESSAGES, tools=TOOLS, tool_choice=named
        )
        (call,) = answer.choices[0].message.tool_calls or []
        assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Oslo"})
        assert answer.choices[0].finish_reason == "stop" and answer.choices[0].message.content is None
        async with served.client.chat.completions.stream(
            model=NAME, messages=MESSAGES, tools=TOOLS, tool_choice=named
        ) as stream:
            final = await stream.get_final_completion()
        assert (final.choices[0].message.tool_calls or [])[0].function.arguments == '{"city": "Oslo"}'
    async with serving(script=['[{"name": "weather", "parameters": {"city"', ': "Oslo"}}]']) as served:
        answer = await served.client.chat.completions.create(
            model=NAME, messages=MESSAGES, tools=TOOLS, tool_choice="required"
        )
        assert answer.choices[0].finish_reason == "tool_calls"
        assert json.loads((answer.choices[0].message.tool_calls or [])[0].function.arguments) == {"city": "Oslo"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tools": TOOLS}, "--enable-auto-tool-choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}}, "names 'x'"),
        ({"tools": TOOLS, "tool_choice": "sometimes"}, "expected none, auto, required"),
        ({"tool_choice": "required"}, "without tools"),
        ({"tools": TOOLS, "tool_choice": "required", "response_format": {"type": "json_object"}}, "different things"),
    ],
)
async def test_what_cannot_be_called_is_told(options: dict[str, Any], words: str):
    async with serving() as served:
        with pytest.raises(openai.BadRequestError, match=words):
            await served.client.chat.completions.create(model=NAME, messages=MESSAGES, **options)


async def test_tool_results_go_back_into_the_conversation():
    async with serving(script=["Rain."], model=HERMES) as served:
        call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
        messages: Any = [
            *MESSAGES,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        ]
        answer = await served.client.chat.completions.create(model=NAME, messages=messages, tools=TOOLS)
        assert answer.choices[0].message.content == "Rain." and answer.choices[0].finish_reason == "stop"


async def test_a_response_whole_and_streamed():
    tools: Any = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}]
    async with serving(script=pieces(SAID, 9), model=HERMES) as served:
        options: Any = {"model": NAME, "input": "Weather?", "instructions": "Be brief.", "tools": tools}
        whole = await served.client.responses.create(**options)
        assert whole.status == "completed" and whole.output_text == "Let me look. "
        assert [item.type for item in whole.output] == ["reasoning", "message", "function_call", "function_call"]
        events = [event async for event in await served.client.responses.create(stream=True, **options)]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert events[0].type == "response.created" and events[-1].type == "response.completed"
        assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == "Let me look. "
        done = [event.item for event in events if event.type == "response.output_item.done"]
        assert [item.type for item in done] == [item.type for item in whole.output]
        final = events[-1].response
        assert final.output_text == whole.output_text and final.usage == whole.usage
        assert [item.arguments for item in done if item.type == "function_call"] == [
            '{"city": "Oslo"}',
            '{"city": "Bergen"}',
        ]


async def test_a_response_goes_on_from_a_call_and_its_output_and_may_be_incomplete():
    async with serving() as served:
        items: Any = [
            {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        ]
        answer = await served.client.responses.create(model=NAME, input=items, max_output_tokens=2)
        assert answer.status == "incomplete" and answer.incomplete_details.reason == "max_output_tokens"  # type: ignore[union-attr]
        for options in ({"previous_response_id": "r"}, {"background": True}):
            with pytest.raises(openai.BadRequestError, match="not stored"):
                await served.client.responses.create(model=NAME, input="x", **options)  # type: ignore[arg-type]
        with pytest.raises(openai.BadRequestError, match="'item_reference' are not known"):
            await served.client.responses.create(model=NAME, input=[{"type": "item_reference", "id": "x"}])
