"""vLLM's POST /tokenize and /detokenize."""

from __future__ import annotations

from typing import Any

import msgspec

from kaito.web.openai.chat import Message, Tool
from kaito.web.openai.common import Natural


class TokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`prompt` or `messages`."""

    model: str = ""
    prompt: str | None = None
    messages: list[Message] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    tools: list[Tool] | None = None


class TokenizeResponse(msgspec.Struct, kw_only=True):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    model: str = ""
    tokens: list[Natural]


class DetokenizeResponse(msgspec.Struct, kw_only=True):
    prompt: str
