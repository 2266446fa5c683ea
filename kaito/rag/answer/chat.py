"""One chat request from its body to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from kaito.rag.answer.context import budget_of, grounded_body, pack
from kaito.rag.answer.llm import ModelServer
from kaito.rag.answer.request import ChatRequest, Conversation, conversation_of
from kaito.rag.answer.text import completion_body, completion_to_chat
from kaito.rag.embed import usual_threshold
from kaito.rag.guardrails.guard import Guard
from kaito.rag.guardrails.policy import Policy
from kaito.rag.index import Index
from kaito.rag.problems import Problem
from kaito.rag.retrieve import Query
from kaito.rag.routes.nodes import node_with_score
from kaito.rag.service import Service
from kaito.rag.tokens import Counter

CANDIDATES_MIN, CANDIDATES_MAX = 20, 100


@dataclass(frozen=True, slots=True)
class Prepared:
    """`sources`: None where the request is passed through."""

    body: dict[str, Any]
    sources: list[dict[str, Any]] | None


class Chat:
    """Grounds requests in indexes and answers them through the model server."""

    def __init__(self, service: Service, server: ModelServer, count: Counter, guard: Guard | None) -> None:
        self.guard = guard
        self.server = server
        self._service = service
        self._count = count

    async def prepare(self, request: ChatRequest) -> Prepared:
        """The request for the model server. Raises Problem, NoSuchIndex, EmbeddingFailed."""
        index = None if request.index_name is None else self._service.indexes.get(request.index_name)
        conversation = None if index is None else conversation_of(request.body)
        prepared = Prepared(request.body, None)
        if index is not None and conversation is not None:
            prepared = await self._ground(request, index, conversation)
        if prepared.sources is None and not self.server.is_chat:
            raise Problem(400, f"Chat completions not supported through endpoint {self.server.url}.")
        if not prepared.body.get("model") and (model := await self.server.default_model()):
            prepared = Prepared({**prepared.body, "model": model}, prepared.sources)
        return prepared

    async def _ground(self, request: ChatRequest, index: Index, conversation: Conversation) -> Prepared:
        settings = self._service.settings
        window = await self.server.window(request.body.get("model")) or settings.llm_context_tokens
        window = min(window, settings.llm_context_tokens)
        ratio = request.ratio or settings.context_fill_ratio
        budget = await asyncio.to_thread(
            lambda: budget_of(
                conversation, window=window, tokens_max=request.tokens_max, ratio=ratio, count=self._count
            )
        )
        if not budget.context:
            return Prepared(request.body, None)
        wanted = min(max(budget.context // 16, CANDIDATES_MIN), CANDIDATES_MAX, settings.top_k_max)
        # Upstream's threshold is a squared distance between vectors of length 1: 2 - 2 × cosine.
        given, usual = settings.similarity_threshold, usual_threshold(self._service.embedding.model)
        similarity_min = 1 - (usual if given is None else given) / 2
        found = await self._service.find(
            index, Query(conversation.query, wanted, similarity_min=similarity_min, use_reranker=True)
        )
        chosen = await asyncio.to_thread(lambda: pack(found, budget.context, self._count))
        if not chosen:
            return Prepared(request.body, None)
        self._service.metrics.scores([one.similarity for one in chosen if one.similarity is not None])
        sources = [node_with_score(one, index.folder.header.uid) for one in chosen]
        return Prepared(grounded_body(request.body, conversation, chosen, budget), sources)

    async def answer(self, prepared: Prepared, policy: Policy | None) -> dict[str, Any]:
        """The whole answer with `source_nodes`. Raises Problem."""
        if self.server.is_chat:
            reply = await self.server.complete(prepared.body)
        else:
            reply = completion_to_chat(await self.server.complete(completion_body(prepared.body)))
        if policy is not None and self.guard is not None:
            await judge_answer(self.guard, policy, reply)
        return {**reply, "source_nodes": prepared.sources}

    @asynccontextmanager
    async def stream(self, prepared: Prepared) -> AsyncIterator[aiohttp.ClientResponse]:
        """Raises Problem before the first byte."""
        if not self.server.is_chat:
            raise Problem(
                400, f"stream=true needs a chat completions endpoint; LLM_INFERENCE_URL is {self.server.url}."
            )
        async with self.server.open(prepared.body) as response:
            yield response


TEXTS = ("content", "reasoning_content", "reasoning", "refusal")


async def judge_answer(guard: Guard, policy: Policy, reply: dict[str, Any]) -> None:
    """Redacts or blocks every text of every choice, in place; a choice whose tool call is hit is blocked."""
    hits: list[tuple[str, str]] = []
    for choice in reply.get("choices") or []:
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            continue
        is_blocked = False
        for key in TEXTS:
            if isinstance(text := message.get(key), str) and text:
                verdict = await guard.judge(policy, text)
                hits += verdict.hits
                message[key] = verdict.text
                is_blocked = is_blocked or verdict.is_blocked
        for arguments in _arguments(message):
            verdict = await guard.judge(policy, arguments)
            hits += verdict.hits
            is_blocked = is_blocked or bool(verdict.hits)
        if is_blocked:
            choice["message"] = {"role": "assistant", "content": policy.block_message}
            choice["finish_reason"] = "content_filter"
            choice.pop("logprobs", None)
        elif hits:
            choice.pop("logprobs", None)  # they would spell out what was redacted
    guard.finished(hits)


def _arguments(message: dict[str, Any]) -> Sequence[str]:
    found: list[str] = []
    for call in message.get("tool_calls") or []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("arguments"), str) and function["arguments"]:
            found.append(function["arguments"])
    return found
