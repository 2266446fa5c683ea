"""POST /v1/chat/completions: what goes to the model, what comes back, what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from tests.contract.rag_api.fake_llm import MODEL, FakeLlm, completion, refusing, saying
from tests.contract.rag_api.service import Rag

pytestmark = pytest.mark.asyncio(loop_scope="session")

KAITO = "KAITO provisions GPU nodes for large language models on Kubernetes."
LORA = "KAITO tunes large language models on Kubernetes with LoRA adapters on GPU nodes."
BREAD = "Bake the bread for forty minutes until the crust is golden."
QUESTION = "What does KAITO do with GPU nodes and large language models on Kubernetes?"
TOOL = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}


def said(asked: dict[str, Any]) -> str:
    """All that the model was told."""
    return "\n".join(str(message.get("content")) for message in asked["messages"])


async def test_an_answer_carries_the_documents_that_it_was_given(rag: Rag, llm: FakeLlm, index: str) -> None:
    ids = await rag.ids(index, KAITO, BREAD)
    before = await rag.metric("rag_chat_requests_total", status="success")
    reply = await rag.chat(QUESTION, index_name=index, model=MODEL, temperature=0.7, max_tokens=100)
    assert reply.status == 200
    assert reply.body["object"] == "chat.completion"
    assert (reply.body["model"], reply.body["usage"]["total_tokens"]) == (MODEL, 18)
    (choice,) = reply.body["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"] | {"role": "assistant", "content": "This is the answer."} == choice["message"]
    (source,) = reply.body["source_nodes"]
    assert (source["doc_id"], source["text"], source["metadata"]) == (ids[0], KAITO, {})
    assert {"node_id", "score"} <= set(source)
    assert await rag.metric("rag_chat_requests_total", status="success") == before + 1


async def test_a_question_in_other_words_finds_its_document_and_one_about_nothing_there_is_passed_through(
    rag: Rag, llm: FakeLlm, index: str
) -> None:
    """What is near depends on the model: upstream's threshold is that of its own."""
    ids = await rag.ids(index, KAITO, BREAD)
    reply = await rag.chat("How long does a loaf stay in the oven?", index_name=index)
    assert [source["doc_id"] for source in reply.body["source_nodes"]] == [ids[1]]
    reply = await rag.chat("Who won the match on Sunday?", index_name=index)
    assert (reply.status, reply.body["source_nodes"]) == (200, None)


async def test_the_model_gets_context_history_question_and_every_parameter(rag: Rag, llm: FakeLlm, index: str) -> None:
    """Upstream forwards model, temperature and top_p only, and loses max_tokens."""
    await rag.ids(index, KAITO, BREAD)
    parameters = {
        "model": "named-model",
        "temperature": 0.3,
        "top_p": 0.9,
        "max_tokens": 77,
        "stop": ["END"],
        "seed": 5,
        "response_format": {"type": "json_object"},
        "logit_bias": {"50256": -100},
        "user": "ada",
    }
    history = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Good day."}]
    reply = await rag.chat(*history, QUESTION, index_name=index, context_token_ratio=0.5, **parameters)
    assert reply.status == 200
    (asked,) = llm.asked
    assert {name: asked[name] for name in parameters} == parameters
    assert not {"index_name", "context_token_ratio"} & set(asked)
    roles = [message["role"] for message in asked["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert KAITO in asked["messages"][0]["content"]
    assert BREAD not in said(asked)
    assert asked["messages"][1:] == [*history, {"role": "user", "content": QUESTION}]


async def test_without_a_model_the_served_one_is_asked(rag: Rag, llm: FakeLlm, index: str) -> None:
    await rag.ids(index, KAITO)
    assert (await rag.chat(QUESTION, index_name=index)).status == 200
    assert llm.asked[0]["model"] == MODEL


async def test_without_an_index_the_request_passes_through(rag: Rag, llm: FakeLlm) -> None:
    reply = await rag.chat(QUESTION, model=MODEL, stop=["END"])
    assert (reply.status, reply.body["source_nodes"]) == (200, None)
    assert llm.asked == [{"messages": [{"role": "user", "content": QUESTION}], "model": MODEL, "stop": ["END"]}]


async def test_a_question_that_no_document_is_near_passes_through(rag: Rag, llm: FakeLlm, index: str) -> None:
    await rag.ids(index, BREAD)
    reply = await rag.chat("Who won the chess match in Reykjavik?", index_name=index, model=MODEL)
    assert (reply.status, reply.body["source_nodes"]) == (200, None)
    assert llm.asked[0]["messages"] == [{"role": "user", "content": "Who won the chess match in Reykjavik?"}]


async def test_an_update_changes_what_the_model_is_told(rag: Rag, llm: FakeLlm, index: str) -> None:
    kaito, lora = await rag.ids(index, KAITO, LORA)
    newer = f"{KAITO} It does so within minutes."
    await rag.update(index, {"doc_id": kaito, "text": newer, "metadata": {}})
    reply = await rag.chat(QUESTION, index_name=index)
    assert {node["doc_id"] for node in reply.body["source_nodes"]} == {kaito, lora}
    assert reply.body["source_nodes"][0]["text"] == newer
    assert len(llm.asked) == 1


async def test_tools_and_functions_are_passed_to_the_model(rag: Rag, llm: FakeLlm, index: str) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}

    async def calling(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        body = completion("")
        body["choices"][0] |= {
            "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": None, "tool_calls": [call]},
        }
        return web.json_response(body)

    llm.answer = calling
    await rag.ids(index, KAITO)
    for more in ({}, {"index_name": index}):
        reply = await rag.chat(QUESTION, tools=[TOOL], tool_choice="auto", **more)
        assert reply.status == 200
        assert reply.body["choices"][0]["finish_reason"] == "tool_calls"
        assert reply.body["choices"][0]["message"]["tool_calls"] == [call]
        assert (llm.asked[-1]["tools"], llm.asked[-1]["tool_choice"]) == ([TOOL], "auto")
    await rag.chat(QUESTION, functions=[TOOL["function"]])
    assert llm.asked[-1]["functions"] == [TOOL["function"]]


async def test_a_conversation_with_tool_results_is_answered(rag: Rag, llm: FakeLlm, index: str) -> None:
    await rag.ids(index, KAITO)
    call = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
    ]
    assert (await rag.chat(*messages, index_name=index, tools=[TOOL])).status == 200
    assert [m for m in llm.asked[0]["messages"] if m["role"] != "system"] == messages


async def test_several_choices_are_given_when_asked_for(rag: Rag, llm: FakeLlm, index: str) -> None:
    llm.answer = saying("One.", "Two.")
    await rag.ids(index, KAITO)
    reply = await rag.chat(QUESTION, index_name=index, n=2)
    assert [c["message"]["content"] for c in reply.body["choices"]] == ["One.", "Two."]
    assert llm.asked[0]["n"] == 2


async def test_system_developer_and_assistant_messages_are_part_of_the_conversation(
    rag: Rag, llm: FakeLlm, index: str
) -> None:
    await rag.ids(index, KAITO)
    for role in ("system", "developer", "assistant"):
        reply = await rag.chat({"role": role, "content": f"I am the {role}."}, QUESTION, index_name=index)
        assert (reply.status, len(reply.body["source_nodes"])) == (200, 1)
        assert f"I am the {role}." in said(llm.asked[-1])


async def test_user_messages_after_the_last_answer_are_one_question(rag: Rag, llm: FakeLlm, index: str) -> None:
    await rag.ids(index, KAITO)
    talk = [
        {"role": "user", "content": "Tell me about bread."},
        {"role": "assistant", "content": "It is baked."},
        {"role": "user", "content": "Now something else."},
        {"role": "user", "content": QUESTION},
        {"role": "developer", "content": "Be brief."},
    ]
    reply = await rag.chat(*talk, index_name=index)
    assert reply.status == 200
    assert [node["text"] for node in reply.body["source_nodes"]] == [KAITO]


async def test_without_a_question_after_the_last_answer_there_is_nothing_to_ask(
    rag: Rag, llm: FakeLlm, index: str
) -> None:
    await rag.ids(index, KAITO)
    reply = await rag.chat(QUESTION, {"role": "assistant", "content": "An answer."}, index_name=index)
    assert (reply.status, reply.detail) == (400, "There must be a user prompt since the latest assistant message.")
    assert llm.asked == []


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "hello"}, "Invalid request format: messages must contain 'role'."),
        ({"role": "user"}, "Invalid request format: messages must contain 'content' for role 'user'."),
        (
            {"role": "system", "content": None},
            "Invalid request format: messages must contain 'content' for role 'system'.",
        ),
        ({"role": "user", "content": ""}, "Invalid request format: user messages must contain 'content'."),
    ],
)
async def test_a_message_that_lacks_something_is_refused(
    rag: Rag, llm: FakeLlm, index: str, message: dict[str, Any], text: str
) -> None:
    await rag.ids(index, KAITO)
    reply = await rag.chat(message, index_name=index)
    assert (reply.status, reply.detail) == (400, text)
    assert llm.asked == []


async def test_content_with_parts_other_than_text_passes_through(rag: Rag, llm: FakeLlm, index: str) -> None:
    await rag.ids(index, KAITO)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    message = {"role": "user", "content": [{"type": "text", "text": QUESTION}, image]}
    reply = await rag.chat(message, index_name=index)
    assert (reply.status, reply.body["source_nodes"]) == (200, None)
    assert llm.asked[0]["messages"] == [message]


async def test_text_parts_are_read_as_text(rag: Rag, llm: FakeLlm, index: str) -> None:
    await rag.ids(index, KAITO)
    message = {"role": "user", "content": [{"type": "text", "text": QUESTION}]}
    assert len((await rag.chat(message, index_name=index)).body["source_nodes"]) == 1


async def test_what_the_model_refuses_reaches_the_client_with_its_status_and_reason(
    rag: Rag, llm: FakeLlm, index: str
) -> None:
    await rag.ids(index, KAITO)
    llm.answer = refusing(400, "Invalid request: no such parameter")
    unknown_role = {"role": "narrator", "content": "Once upon a time."}
    for reply in (
        await rag.chat(unknown_role, index_name=index),
        await rag.chat(),
        await rag.chat(QUESTION, index_name=index),
    ):
        assert reply.status == 400
        assert "Invalid request: no such parameter" in reply.detail
    llm.answer = refusing(401, "who are you")
    reply = await rag.chat(QUESTION)
    assert (reply.status, "who are you" in reply.detail) == (401, True)


async def test_a_failing_model_is_an_error_that_is_counted(rag: Rag, llm: FakeLlm, index: str) -> None:
    await rag.ids(index, KAITO)
    before = await rag.metric("rag_chat_requests_total", status="failure")
    llm.answer = refusing(500, "the model fell over")
    reply = await rag.chat(QUESTION, index_name=index)
    assert reply.status >= 500
    assert "the model fell over" in reply.detail
    assert await rag.metric("rag_chat_requests_total", status="failure") == before + 1


@pytest.mark.parametrize("ratio", [0.1, 0.9, -1, "half"])
async def test_a_context_ratio_outside_its_range_is_refused(rag: Rag, llm: FakeLlm, index: str, ratio: object) -> None:
    await rag.ids(index, KAITO)
    reply = await rag.chat(QUESTION, index_name=index, context_token_ratio=ratio)
    assert reply.status in {400, 422}
    assert "context_token_ratio" in str(reply.body)
    assert llm.asked == []


async def test_chats_at_once_keep_their_own_parameters_and_usage(rag: Rag, llm: FakeLlm, index: str) -> None:
    """Upstream holds them in one shared object."""
    await rag.ids(index, KAITO)
    everyone = asyncio.Barrier(8)

    async def counting(_: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await everyone.wait()
        return web.json_response(completion(f"seed {body['seed']}") | {"usage": {"total_tokens": body["seed"]}})

    llm.answer = counting
    replies = await asyncio.gather(*(rag.chat(QUESTION, index_name=index, seed=seed) for seed in range(8)))
    assert [r.body["choices"][0]["message"]["content"] for r in replies] == [f"seed {seed}" for seed in range(8)]
    assert [r.body["usage"]["total_tokens"] for r in replies] == list(range(8))


async def test_readers_and_writers_go_on_while_a_model_thinks(rag: Rag, llm: FakeLlm, index: str) -> None:
    """Upstream holds the lock of every index through the whole answer."""
    await rag.ids(index, KAITO)
    may_answer = asyncio.Event()

    async def slow(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await may_answer.wait()
        return await saying("At last.")(request, body)

    llm.answer = slow
    thinking = asyncio.create_task(rag.chat(QUESTION, index_name=index))
    await llm.until_asked(1)
    await rag.ids(index, BREAD)
    assert (await rag.retrieve(index, "bread", max_node_count=1)).body["results"][0]["text"] == BREAD
    assert not thinking.done()
    may_answer.set()
    assert (await thinking).body["choices"][0]["message"]["content"] == "At last."
