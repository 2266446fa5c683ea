"""POST /v1/embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from kaito.web.openai.common import Count, Natural


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`input`: a text, several, token ids, or several lists of them."""

    model: str = ""
    input: str | list[str | int | list[Natural]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None
    user: str | None = None
    # Beyond OpenAI's, as vLLM has them. -1: as many as the model reads.
    truncate_prompt_tokens: Annotated[int, msgspec.Meta(ge=-1, le=1 << 31)] | None = None
    add_special_tokens: bool | None = None


class EmbeddingUsage(msgspec.Struct, kw_only=True):
    prompt_tokens: int
    total_tokens: int


class Embedding(msgspec.Struct, kw_only=True):
    """`embedding`: floats, or base64 of little-endian float32."""

    object: str = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingList(msgspec.Struct, kw_only=True):
    object: str = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
