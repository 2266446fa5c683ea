"""Which passages go into the prompt: the most relevant that fit the token budget, and how they stand there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kaito.rag.answer.request import Conversation
from kaito.rag.ingest import with_metadata
from kaito.rag.problems import Problem
from kaito.rag.retrieve import Found
from kaito.rag.tokens import Counter

FRAME_TOKENS = 150  # upstream's allowance for the template around query and context
TEMPLATE = """Use the context information below to assist the user. Where you use it, name its number, such as [1].
---------------------
{context}
---------------------
If the context does not help, say so rather than make something up."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Tokens. `context`: for passages; `answer`: the most that the model may write, None where the client set none."""

    window: int
    prompt: int
    context: int
    answer: int | None


def budget_of(
    conversation: Conversation, *, window: int, tokens_max: int | None, ratio: float, count: Counter
) -> Budget:
    """Upstream's rule. Takes CPU time. Raises Problem (400) where the prompt alone is longer than the window."""
    prompt = count("\n\n".join(conversation.texts))
    if prompt > window:
        raise Problem(400, "Prompt length exceeds context window.")
    answer = None if tokens_max is None else max(min(tokens_max, window - prompt), 1)
    query = count(conversation.query)
    context = int(min(answer or window, window - query - FRAME_TOKENS) * ratio)
    room = window - prompt - FRAME_TOKENS - (answer or 0)
    return Budget(window, prompt, max(min(context, room if answer else context), 0), answer)


def pack(found: Sequence[Found], budget_tokens: int, count: Counter) -> list[Found]:
    """Greedily the best that fit; one that is too large is skipped. Takes CPU time."""
    chosen: list[Found] = []
    left = budget_tokens
    for one in found:
        if left <= 0:
            break
        cost = count(passage(one, len(chosen) + 1)) + 2
        if cost <= left:
            chosen.append(one)
            left -= cost
    return chosen


def passage(found: Found, number: int) -> str:
    return f"[{number}] {with_metadata(found.text, found.document.metadata)}"


def grounded_body(
    body: dict[str, Any], conversation: Conversation, chosen: Sequence[Found], budget: Budget
) -> dict[str, Any]:
    """The request for the model server: the context as the first system message, then the conversation."""
    context = "\n\n".join(passage(one, number) for number, one in enumerate(chosen, 1))
    system = {"role": "system", "content": TEMPLATE.format(context=context)}
    grounded = {**body, "messages": [system, *conversation.messages]}
    for key in ("max_tokens", "max_completion_tokens"):
        if budget.answer is not None and isinstance(body.get(key), int):
            grounded[key] = min(body[key], budget.answer)
    return grounded
