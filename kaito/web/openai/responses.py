"""POST /v1/responses: what of it a server without memory of its own can answer."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from kaito.web.openai.common import Count, Fraction, Temperature


class ResponsesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`input`: a text, or items (messages, function calls and their outputs)."""

    input: str | list[dict[str, Any]]
    model: str = ""
    instructions: str | None = None
    max_output_tokens: Count | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    temperature: Temperature | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] | None = None
    min_p: Fraction | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None
    seed: int | None = None
    ignore_eos: bool | None = None
    user: str | None = None
