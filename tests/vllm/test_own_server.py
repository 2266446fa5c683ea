"""Our server with the vLLM engine says, token by token, what vLLM's own server says on the same model."""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI

from tests.vllm.conftest import MODEL, Pair

PROMPTS = ("hello", "The capital of France is", "0123456789" * 12)
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say something."}]
GREEDY: dict[str, Any] = {"model": MODEL, "temperature": 0, "max_tokens": 48}
COMPLETIONS = {
    "greedy": {},
    "all tokens, past the end of text": {"ignore_eos": True, "max_tokens": 200},
    "logprobs and echo": {"logprobs": 3, "echo": True},
    "several seeded choices": {"n": 3, "temperature": 0.9, "seed": 42, "top_p": 0.9, "top_k": 20},
    "penalties": {"presence_penalty": 1.1, "frequency_penalty": 0.7, "repetition_penalty": 1.2},
    "a stop string": {"stop": ["e"], "ignore_eos": True},
    "an adapter": {"model": "pirate"},
}
# What differs from one answer to the next, whoever gives it.
NAMES_OF_ONE_ANSWER = ("id", "created", "system_fingerprint", "request_id")


async def post(url: str, body: dict[str, Any]) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
        return answer.status, await answer.json()


async def stream(url: str, body: dict[str, Any]) -> list[Any]:
    async with aiohttp.ClientSession() as session, session.post(url, json=body | {"stream": True}) as answer:
        assert answer.content_type == "text/event-stream"
        text = (await answer.read()).decode()
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


def comparable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items() if key not in NAMES_OF_ONE_ANSWER}
    return round(value, 3) if isinstance(value, float) else value


def text_of(chunks: list[Any]) -> list[str]:
    """The text of each choice of a stream."""
    texts: dict[int, str] = {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        said = choice["text"] if "text" in choice else choice["delta"].get("content") or ""
        texts[choice["index"]] = texts.get(choice["index"], "") + said
    return [texts[index] for index in sorted(texts)]


@pytest.mark.parametrize("name", COMPLETIONS)
async def test_a_completion_is_the_same(servers: Pair, name: str) -> None:
    for prompt in PROMPTS:
        body = GREEDY | {"prompt": prompt} | COMPLETIONS[name]
        ours = await post(f"{servers.ours.url}/v1/completions", body)
        own = await post(f"{servers.own.url}/v1/completions", body)
        assert comparable(ours) == comparable(own)
        assert ours[0] == 200


async def test_a_chat_completion_is_the_same_and_so_is_its_stream(servers: Pair) -> None:
    body = GREEDY | {"messages": MESSAGES, "logprobs": True, "top_logprobs": 2, "ignore_eos": True}
    path = "/v1/chat/completions"
    ours, own = [await post(server.url + path, body) for server in (servers.ours, servers.own)]
    assert comparable(ours) == comparable(own)
    body |= {"stream_options": {"include_usage": True}}
    chunks = await stream(servers.ours.url + path, body)
    assert text_of(chunks) == text_of(await stream(servers.own.url + path, body))
    assert text_of(chunks) == [ours[1]["choices"][0]["message"]["content"]]
    assert chunks[-1]["usage"] == ours[1]["usage"] | {"prompt_tokens_details": None} or (
        chunks[-1]["usage"]["completion_tokens"] == ours[1]["usage"]["completion_tokens"]
    )


async def test_guided_output_fits_its_expression(servers: Pair) -> None:
    expression = "(red|blue)-[0-9]{3}"
    body = GREEDY | {"messages": MESSAGES, "structured_outputs": {"regex": expression}}
    ours, own = [await post(server.url + "/v1/chat/completions", body) for server in (servers.ours, servers.own)]
    assert comparable(ours) == comparable(own)
    assert re.fullmatch(expression, ours[1]["choices"][0]["message"]["content"])


async def test_the_older_words_for_guided_output_hold_it_too(servers: Pair) -> None:
    """vLLM's own server no longer reads them; ours says them in today's words."""
    path = "/v1/completions"
    for field, value, fits in (
        ("guided_regex", "(red|blue)-[0-9]{3}", "(red|blue)-[0-9]{3}"),
        ("guided_choice", ["left", "right"], "left|right"),
        ("guided_json", {"enum": ["yes"]}, '"yes"'),
    ):
        body = GREEDY | {"prompt": "say", field: value}
        status, answer = await post(servers.ours.url + path, body)
        assert status == 200 and re.fullmatch(fits, answer["choices"][0]["text"])
    twice = GREEDY | {"prompt": "say", "guided_regex": "a", "response_format": {"type": "json_object"}}
    status, answer = await post(servers.ours.url + path, twice)
    assert status == 400 and answer["error"]["param"] == "guided_regex"


async def test_the_start_answers_all_the_while_and_tells_its_stages(servers: Pair) -> None:
    assert any("not loaded yet: warming up" in answer for answer in servers.ours.told), servers.ours.told
    async with aiohttp.ClientSession() as session, session.get(f"{servers.ours.url}/metrics") as answer:
        text = await answer.text()
    seconds = {
        found[1]: float(found[2])
        for found in re.finditer(r'^kaito_start_stage_seconds{stage="([^"]+)"} (\S+)', text, re.M)
    }
    assert {"importing", "starting the engine", "loading", "warming up", "opening the server"} <= set(seconds)
    assert all(value > 0 for value in seconds.values())
    told = [line for line in servers.ours.log.read_text().splitlines() if "start progressed" in line]
    assert any("loading" in line for line in told)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {"model": MODEL, "prompt": "hello world"}),
        ("/tokenize", {"model": MODEL, "messages": MESSAGES}),
        ("/detokenize", {"model": MODEL, "tokens": [70, 71, 72]}),
    ],
)
async def test_tokens_are_the_same(servers: Pair, path: str, body: dict[str, Any]) -> None:
    ours, own = await post(servers.ours.url + path, body), await post(servers.own.url + path, body)
    assert ours == own
    assert ours[0] == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (GREEDY | {"model": "nobody", "messages": MESSAGES}, 404),
        (GREEDY | {"messages": MESSAGES, "temperature": "hot"}, 400),
        (GREEDY | {"messages": [{"role": "user", "content": "word " * 5000}]}, 400),
        ({"model": MODEL}, 400),
    ],
)
async def test_what_is_refused_is_refused_alike_with_the_field_named(
    servers: Pair, body: dict[str, Any], status: int
) -> None:
    ours, own = [await post(server.url + "/v1/chat/completions", body) for server in (servers.ours, servers.own)]
    assert ours[0] == own[0] == status
    assert ours[1]["error"]["message"]
    assert set(ours[1]["error"]) == {"message", "type", "param", "code"}


async def test_the_responses_api_answers_the_official_client(servers: Pair) -> None:
    texts = []
    for server in (servers.ours, servers.own):
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            answer = await client.responses.create(model=MODEL, input="hello", temperature=0, max_output_tokens=24)
            events = [
                event
                async for event in await client.responses.create(
                    model=MODEL, input="hello", temperature=0, max_output_tokens=24, stream=True
                )
            ]
            assert events[-1].type == "response.completed"
            texts.append((answer.output_text, events[-1].response.output_text))
    assert texts[0] == texts[1]
    assert texts[0][0] == texts[0][1]


async def test_a_client_that_leaves_takes_its_request_with_it(servers: Pair) -> None:
    url = servers.ours.url
    body = GREEDY | {"prompt": "hello", "max_tokens": 900, "ignore_eos": True, "stream": True}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{url}/v1/completions", json=body) as answer:
            await answer.content.readany()
        for _ in range(200):  # the metrics are what the engine says of itself
            async with session.get(f"{url}/metrics") as metrics:
                lines = (await metrics.text()).splitlines()
            running = [line for line in lines if line.startswith("vllm:num_requests_running{")]
            if running and all(line.endswith(" 0.0") for line in running):
                return
    pytest.fail(f"still running: {running}")
