"""POST /v1/completions."""

from __future__ import annotations

from typing import Annotated

import msgspec

from kaito.web.openai.common import Choices, FinishReason, Natural, SamplingFields, Usage


class CompletionRequest(SamplingFields, frozen=True, kw_only=True):
    """`prompt`: a text, several texts, token ids, or several lists of them."""

    prompt: str | list[str | int | list[Natural]]
    max_tokens: Natural | None = 16  # 0 with echo: only the prompt is scored
    echo: bool | None = None
    best_of: Choices | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    suffix: str | None = None
    add_special_tokens: bool | None = None


class Logprobs(msgspec.Struct):
    """One entry a token. The first token of an echoed prompt has no logprob."""

    text_offset: list[int]
    token_logprobs: list[float | None]
    tokens: list[str]
    top_logprobs: list[dict[str, float] | None] | None


class Choice(msgspec.Struct, kw_only=True):
    index: int
    text: str
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    token_ids: list[int] | msgspec.UnsetType = msgspec.UNSET
    prompt_token_ids: list[int] | msgspec.UnsetType = msgspec.UNSET


class Completion(msgspec.Struct, kw_only=True):
    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None
    system_fingerprint: str | None = None
