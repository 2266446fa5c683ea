"""Tokens to text, a token at a time. Pure: the tokenizer's decode is passed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# A character has at most four bytes, so at most four byte tokens: what is not one by then never will be.
UNDECIDED_MAX = 4


class Detokenizer:
    """Lets a token's text through once it is whole characters.

    What a token reads as depends on those before it (leading spaces, merged bytes), so a short context is decoded
    along: `_context` tokens whose text is already out, then those that are not.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._context: list[int] = []
        self._context_text = ""
        self._pending: list[int] = []

    def push(self, token: int) -> str:
        self._pending.append(token)
        text = self._decode([*self._context, *self._pending])
        if text.endswith(REPLACEMENT) and len(self._pending) < UNDECIDED_MAX:
            return ""
        if len(text) <= len(self._context_text) and len(self._pending) < UNDECIDED_MAX:
            return ""
        return self._release(text)

    def flush(self) -> str:
        """The text of what is still undecided, when nothing follows."""
        return self._release(self._decode([*self._context, *self._pending])) if self._pending else ""

    def _release(self, text: str) -> str:
        released = text[len(self._context_text) :]
        self._context, self._pending = self._pending, []
        self._context_text = self._decode(self._context)
        return released
