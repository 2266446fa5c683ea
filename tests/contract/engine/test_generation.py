"""What every engine must do, seen through the server: the tokens, and how they come."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest

from tests.contract.engine.conftest import NAME, Reference, Served

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROMPTS = [
    "the node",
    "a watch event changes the state of the world and then",
    "Kubernetes",
    "why? " * 40,
    "x",
    "the cache, the queue and the worker\nwrite code",
]
RAW = {"return_token_ids": True}
CHOICE = {"structured_outputs": {"choice": ["yes", "no (a+b)"]}, "ignore_eos": False}
ONE_INTEGER = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}


PAUSE_S = 0.02


async def complete(served: Served, prompt: Any, **options: Any) -> Any:
    extra = {"ignore_eos": True} | options.pop("extra_body", {})
    options = {"model": NAME, "max_tokens": 24, "temperature": 0} | options
    return await served.client.completions.create(prompt=prompt, extra_body=extra, **options)


async def streamed(served: Served, prompt: Any, **options: Any) -> list[Any]:
    return [chunk async for chunk in await complete(served, prompt, stream=True, **options)]


async def test_greedy_output_is_token_for_token_what_generate_gives(served: Served, reference: Reference):
    answers = await asyncio.gather(
        *(complete(served, prompt, max_tokens=60, extra_body=RAW) for prompt in PROMPTS)  # side by side in one batch
    )
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        tokens = reference.tokenizer.encode(prompt)
        choice = answer.choices[0]
        assert choice.token_ids == reference.greedy(tokens, 60, ignores_eos=True)
        assert choice.text == reference.tokenizer.decode(choice.token_ids, skip_special_tokens=True)
        assert choice.finish_reason == "length"
        assert answer.usage.model_dump(include={"prompt_tokens", "completion_tokens", "total_tokens"}) == {
            "prompt_tokens": len(tokens),
            "completion_tokens": 60,
            "total_tokens": len(tokens) + 60,
        }


async def test_a_long_prompt_is_read_in_pieces_and_gives_the_same(served: Served, reference: Reference):
    tokens = [7 + (n * 31) % 900 for n in range(900)]
    answer = await complete(served, tokens, max_tokens=20, extra_body=RAW)
    assert answer.choices[0].token_ids == reference.greedy(tokens, 20, ignores_eos=True)


async def test_streaming_gives_what_not_streaming_gives(served: Served):
    for options in (
        {},
        {"temperature": 1.0, "seed": 5},
        {"stop": ["e"]},
        {"echo": True},
        {"n": 3, "temperature": 0.9, "seed": 1},
    ):
        whole = await complete(served, PROMPTS[1], **options)
        chunks = await streamed(served, PROMPTS[1], stream_options={"include_usage": True}, **options)
        for choice in whole.choices:
            pieces = [c for chunk in chunks for c in chunk.choices if c.index == choice.index]
            assert "".join(piece.text for piece in pieces) == choice.text
            assert [piece.finish_reason for piece in pieces if piece.finish_reason] == [choice.finish_reason]
        assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
        assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_chat_streams_what_it_says_whole(served: Served):
    options: dict[str, Any] = {
        "model": NAME,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        ],
        "max_tokens": 12,
        "temperature": 0,
        "extra_body": {"ignore_eos": True},
    }
    whole = await served.client.chat.completions.create(**options)
    stream = await served.client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **options)
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices)
    assert text == whole.choices[0].message.content and whole.choices[0].message.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason == "length"
    assert chunks[-1].usage == whole.usage and whole.usage.completion_tokens == 12
    assert len({chunk.id for chunk in chunks}) == 1 and whole.id.startswith("chatcmpl-")


async def test_continuous_usage_counts_up(served: Served):
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = await streamed(served, "the node", max_tokens=5, stream_options=options)
    counts = [chunk.usage.completion_tokens for chunk in chunks]
    assert counts == sorted(counts) and counts[-1] == 5 and all(chunk.usage for chunk in chunks)


async def test_stop_strings_end_the_text_before_them_wherever_they_fall(served: Served):
    whole = (await complete(served, PROMPTS[1], max_tokens=40)).choices[0].text
    for begin in range(0, len(whole) - 4, 3):
        stop = whole[begin : begin + 4]
        for choice in (
            (await complete(served, PROMPTS[1], max_tokens=40, stop=[stop, "\0never"])).choices[0],
            await joined(served, PROMPTS[1], max_tokens=40, stop=[stop, "\0never"]),
        ):
            assert choice.text == whole[: whole.index(stop)]
            assert (choice.finish_reason, choice.stop_reason) == ("stop", stop)


async def joined(served: Served, prompt: str, **options: Any) -> Any:
    """A stream's only choice as if it had come whole."""
    pieces = [choice for chunk in await streamed(served, prompt, **options) for choice in chunk.choices]
    last = pieces[-1]
    last.text = "".join(piece.text for piece in pieces)
    return last


async def test_the_stop_string_stays_where_asked(served: Served):
    whole = (await complete(served, PROMPTS[0])).choices[0].text
    stop = whole[5:8]
    kept = await complete(served, PROMPTS[0], stop=stop, extra_body={"include_stop_str_in_output": True})
    assert kept.choices[0].text == whole[: whole.index(stop) + len(stop)]


async def test_stop_tokens_end_and_name_themselves(served: Served):
    tokens = (await complete(served, PROMPTS[0], extra_body=RAW)).choices[0].token_ids
    stop = tokens[9]
    at = tokens.index(stop)
    choice = (await complete(served, PROMPTS[0], extra_body=RAW | {"stop_token_ids": [stop]})).choices[0]
    assert (choice.finish_reason, choice.stop_reason) == ("stop", stop)
    assert choice.token_ids == tokens[: at + 1]


async def test_the_models_own_end_ends_unless_it_is_ignored_or_comes_too_early(served: Served, reference: Reference):
    end = reference.tokenizer.eos_token_id
    bias = {str(end): 100}
    ended = await complete(served, "the", logit_bias=bias, extra_body={"ignore_eos": False})
    assert ended.choices[0].finish_reason == "stop" and ended.usage.completion_tokens == 1
    assert ended.choices[0].text == ""
    later = await complete(served, "the", logit_bias=bias, extra_body={"ignore_eos": False, "min_tokens": 6})
    assert later.choices[0].finish_reason == "stop" and later.usage.completion_tokens == 7
    never = await complete(served, "the", logit_bias=bias, max_tokens=4)
    assert never.choices[0].finish_reason == "length" and never.usage.completion_tokens == 4


async def test_a_seed_gives_the_same_tokens_in_any_company(served: Served):
    async def sample(seed: int, prompt: str = "the node") -> str:
        return (await complete(served, prompt, temperature=1.0, seed=seed, max_tokens=16)).choices[0].text

    alone = await sample(11)
    crowd = await asyncio.gather(*(sample(seed, prompt) for seed in (11, 12, 13) for prompt in ("the node", "x")))
    assert crowd[0] == alone
    assert len({crowd[0], crowd[2], crowd[4]}) == 3


async def test_choices_differ_and_cost_the_prompt_once(served: Served):
    answer = await complete(served, "the node", n=4, temperature=1.0, seed=3, max_tokens=8)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert len({choice.text for choice in answer.choices}) == 4
    assert answer.usage.completion_tokens == 32 and answer.usage.prompt_tokens < 8


async def test_several_prompts_are_answered_in_order(served: Served):
    answer = await complete(served, PROMPTS[:3], max_tokens=6)
    single = [await complete(served, prompt, max_tokens=6) for prompt in PROMPTS[:3]]
    assert [choice.text for choice in answer.choices] == [each.choices[0].text for each in single]
    twice = await complete(served, PROMPTS[:3], n=2, temperature=1.0, top_p=1e-6, max_tokens=6)
    assert [choice.text for choice in twice.choices] == [each.choices[0].text for each in single for _ in range(2)]


async def test_top_k_one_and_a_tiny_top_p_and_min_p_one_are_greedy(served: Served):
    greedy = (await complete(served, "the node")).choices[0].text
    for options in ({"top_p": 1e-6}, {"extra_body": {"top_k": 1}}, {"extra_body": {"min_p": 1.0}}):
        assert (await complete(served, "the node", temperature=1.5, seed=9, **options)).choices[0].text == greedy


async def test_top_k_keeps_to_the_k_most_probable(served: Served, reference: Reference):
    prompt = reference.tokenizer.encode("the node")
    best = set(reference.logprobs(prompt)[-1].topk(3).indices.tolist())
    answer = await complete(served, prompt, n=16, temperature=2.0, seed=1, max_tokens=1, extra_body=RAW | {"top_k": 3})
    seen = {choice.token_ids[0] for choice in answer.choices}
    assert seen <= best and len(seen) > 1


async def test_penalties_and_bias_change_what_comes(served: Served, reference: Reference):
    prompt = reference.tokenizer.encode("the node")
    plain = (await complete(served, prompt, extra_body=RAW)).choices[0].token_ids
    banned = await complete(served, prompt, logit_bias={str(plain[0]): -100}, extra_body=RAW)
    assert banned.choices[0].token_ids[0] != plain[0]
    forced = await complete(served, prompt, logit_bias={"500": 100}, extra_body=RAW)
    assert set(forced.choices[0].token_ids) == {500}
    spread = await complete(
        served, prompt, logit_bias={"500": 1, "501": 1}, presence_penalty=2, frequency_penalty=2, extra_body=RAW
    )
    assert len(set(spread.choices[0].token_ids)) == 24
    repeated = await complete(served, prompt, extra_body=RAW | {"repetition_penalty": 1.3})
    expected = reference.greedy(prompt, 24, ignores_eos=True, repetition_penalty=1.3)
    assert repeated.choices[0].token_ids == expected


async def test_logprobs_are_the_models_own(served: Served, reference: Reference):
    prompt = reference.tokenizer.encode("the node")
    answer = await complete(served, prompt, logprobs=2, max_tokens=6, temperature=0.7, seed=4, extra_body=RAW)
    choice = answer.choices[0]
    rows = reference.logprobs(prompt + choice.token_ids)[len(prompt) - 1 :]
    for place, token in enumerate(choice.token_ids):
        assert choice.logprobs.token_logprobs[place] == pytest.approx(float(rows[place][token]), abs=1e-3)
        assert sorted(choice.logprobs.top_logprobs[place].values())[-1] == pytest.approx(
            float(rows[place].max()), abs=1e-3
        )
    names = zip(choice.logprobs.tokens, choice.token_ids, strict=True)
    # Half a character has no text of its own: engines show it as the replacement character or as nothing.
    assert all(name.strip("\ufffd") == reference.tokenizer.decode([t]).strip("\ufffd") for name, t in names)


async def test_chat_logprobs_have_bytes_and_alternatives(served: Served):
    messages = [{"role": "user", "content": "Hi"}]
    answer = await served.client.chat.completions.create(
        model=NAME, messages=messages, max_tokens=3, logprobs=True, top_logprobs=4, temperature=0,
        extra_body={"ignore_eos": True},
    )  # fmt: skip
    content = answer.choices[0].logprobs.content
    assert len(content) == 3
    for entry in content:
        assert bytes(entry.bytes).decode(errors="replace") == entry.token
        assert len(entry.top_logprobs) == 4 and entry.top_logprobs[0].logprob == pytest.approx(entry.logprob)


async def test_echo_gives_the_prompt_back_and_its_logprobs(served: Served, reference: Reference):
    prompt = reference.tokenizer.encode(PROMPTS[1])
    answer = await complete(served, PROMPTS[1], echo=True, logprobs=1, max_tokens=2)
    choice = answer.choices[0]
    assert choice.text.startswith(PROMPTS[1])
    assert len(choice.logprobs.tokens) == len(prompt) + 2 and choice.logprobs.token_logprobs[0] is None
    rows = reference.logprobs(prompt)
    for place in range(1, len(prompt)):
        expected = float(rows[place - 1][prompt[place]])
        assert choice.logprobs.token_logprobs[place] == pytest.approx(expected, abs=1e-3)
    assert "".join(choice.logprobs.tokens) == choice.text


@pytest.mark.parametrize(
    ("schema", "check"),
    [
        (ONE_INTEGER, dict),
        ({"enum": ["red", "green"]}, str),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3}, list),
    ],
)  # fmt: skip
async def test_a_schema_holds_the_output(served: Served, schema: dict[str, Any], check: type):
    for seed in range(3):
        answer = await served.client.chat.completions.create(
            model=NAME,
            messages=[{"role": "user", "content": "Answer"}],
            response_format={"type": "json_schema", "json_schema": {"name": "it", "schema": schema}},
            temperature=1.0,
            seed=seed,
            max_tokens=300,
        )
        if answer.choices[0].finish_reason == "stop":  # else the number has no end yet
            assert isinstance(json.loads(answer.choices[0].message.content), check)


async def test_an_expression_and_a_choice_hold_the_output(served: Served):
    number = await complete(
        served,
        "call",
        temperature=1.0,
        seed=1,
        extra_body={"structured_outputs": {"regex": r"\d{3}-\d{4}"}, "ignore_eos": False},
    )
    assert [len(part) for part in number.choices[0].text.split("-")] == [3, 4]
    assert number.choices[0].finish_reason == "stop"
    for seed in range(4):
        choice = await complete(served, "is it", temperature=1.0, seed=seed, extra_body=CHOICE)
        assert choice.choices[0].text in ("yes", "no (a+b)")


async def test_what_cannot_be_compiled_is_told(served: Served):
    for extra in ({"structured_outputs": {"regex": "(("}}, {"structured_outputs": {"json": {"type": "nonsense"}}}):
        with pytest.raises(openai.BadRequestError):
            await complete(served, "x", extra_body=extra)


async def test_a_client_that_goes_frees_its_slot(served: Served):
    await settled(served)  # the engine is the whole session's
    stream = await complete(served, "the node", max_tokens=1000, stream=True)
    async for _ in stream:
        break
    assert served.app.state.in_flight.count == 1
    await stream.close()
    await settled(served)
    asking = asyncio.create_task(complete(served, "the node", max_tokens=1000))
    while not served.metric("vllm:num_requests_running"):
        assert not asking.done(), asking.result()
        await asyncio.sleep(PAUSE_S)
    asking.cancel()
    await settled(served)


async def settled(served: Served) -> None:
    """Until nothing runs or waits, on either side of the seam; the test's timeout is the bound.

    Between two looks the interpreter is the engine's: its thread would starve beside a loop that only asks.
    """
    while (  # noqa: ASYNC110 (another thread's state: there is no event to wait for)
        served.app.state.in_flight.count
        or served.metric("vllm:num_requests_running")
        or served.metric("vllm:num_requests_waiting")
    ):
        await asyncio.sleep(PAUSE_S)


async def test_more_requests_than_slots_are_all_answered(served: Served):
    answers = await asyncio.gather(*(complete(served, f"{n} nodes", max_tokens=8) for n in range(30)))
    assert [answer.usage.completion_tokens for answer in answers] == [8] * 30
    await settled(served)
