"""transformers' tokenizer as our seam wants it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from transformers import AutoTokenizer, PreTrainedTokenizerBase


class HfTokenizer:
    """A fast tokenizer is safe across threads; what is not fast is used from the event loop only."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat_template: str = "") -> None:
        self.hf = tokenizer
        if chat_template:
            tokenizer.chat_template = chat_template
        self._size = len(tokenizer)
        added = tokenizer.added_tokens_decoder.values()
        self.special_tokens = frozenset(token.content for token in added if token.special and token.content)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._decode = backend.decode if backend is not None and not _cleans_up(tokenizer) else None

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return list(self.hf.encode(text, add_special_tokens=add_special_tokens))

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        if self._decode is not None:
            return str(self._decode(list(tokens), skip_special_tokens=skip_special_tokens))
        return str(self.hf.decode(list(tokens), skip_special_tokens=skip_special_tokens))

    def token_name(self, token: int) -> str:
        return str(self.hf.convert_ids_to_tokens(token))

    def render_chat(self, messages: list[dict[str, Any]], **variables: Any) -> str:
        try:
            return str(self.hf.apply_chat_template(messages, tokenize=False, **variables))
        except (jinja2.TemplateError, TypeError, KeyError) as error:
            raise ValueError(f"the model's chat template refuses the messages: {error}") from error

    @property
    def vocabulary_size(self) -> int:
        return self._size

    @property
    def has_chat_template(self) -> bool:
        return bool(self.hf.chat_template)


def load_tokenizer(path: str, *, trust_remote_code: bool, chat_template: str = "") -> HfTokenizer:
    """`chat_template`: a file, or the template itself where it has a brace or a line break."""
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    if chat_template and "{" not in chat_template and "\n" not in chat_template:
        chat_template = Path(chat_template).read_text(encoding="utf-8")
    return HfTokenizer(tokenizer, chat_template)


def _cleans_up(tokenizer: PreTrainedTokenizerBase) -> bool:
    return bool(getattr(tokenizer, "clean_up_tokenization_spaces", False))
