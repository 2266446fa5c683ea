"""GET /v1/models."""

from __future__ import annotations

import msgspec


class ModelCard(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`root` is where the weights come from, `parent` the base model of an adapter."""

    id: str
    object: str = msgspec.field(default_factory=lambda: "model")
    created: int
    owned_by: str = msgspec.field(default_factory=lambda: "kaito")
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None
    description: str | None = None


class ModelList(msgspec.Struct, kw_only=True):
    object: str = "list"
    data: list[ModelCard]
