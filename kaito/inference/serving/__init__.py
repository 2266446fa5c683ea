"""OpenAI's operations over an engine that only makes tokens."""

from __future__ import annotations

from kaito.inference.serving.token_serving import TokenServing

__all__ = ["TokenServing"]
