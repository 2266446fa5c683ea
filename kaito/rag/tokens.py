"""Tokens of a text, by the model's own tokenizer where one is configured, else by OpenAI's o200k."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

Counter: TypeAlias = Callable[[str], int]


class TokenizerMissing(ValueError):
    """LLM_TOKENIZER names nothing that can be read."""


def open_counter(tokenizer: str) -> Counter:
    """`tokenizer`: a tokenizer.json, a folder with one, or a model's name on the hub; empty: o200k_base.

    A count takes CPU time: for a worker thread. Raises TokenizerMissing.
    """
    return _own(tokenizer) if tokenizer else _o200k()


def _own(name: str) -> Counter:
    from tokenizers import Tokenizer

    path = Path(name)
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        tokenizer = Tokenizer.from_file(str(file)) if file.is_file() else Tokenizer.from_pretrained(name)
    except Exception as error:  # the library raises bare Exception
        raise TokenizerMissing(f"LLM_TOKENIZER={name!r} cannot be loaded: {error}") from error
    tokenizer.no_truncation()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _o200k() -> Counter:
    encoding = open_encoding("o200k_base")
    return lambda text: len(encoding.encode_ordinary(text))


def open_encoding(name: str) -> Any:
    """tiktoken's encoding of this name; nothing is downloaded for the two usual ones. Raises ValueError."""
    import llama_index.core
    import tiktoken

    # LlamaIndex carries tiktoken's files; without them tiktoken would download.
    cache = Path(llama_index.core.__file__).parent / "_static" / "tiktoken_cache"
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(cache))
    return tiktoken.get_encoding(name)
