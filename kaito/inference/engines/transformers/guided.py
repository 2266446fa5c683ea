"""Output that must match a schema, an expression or a grammar: llguidance says which tokens may come next."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import llguidance.hf
import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer

from kaito.inference.engines.transformers.tokenizer import HfTokenizer
from kaito.inference.generation import Guide

CACHED_MAX = 128


class Grammars:
    """Compiled guides of one tokenizer. Compiling drops the interpreter's lock: call `compile` on a thread."""

    def __init__(self, tokenizer: HfTokenizer, eos: frozenset[int]) -> None:
        self._hf, self._eos = tokenizer, eos
        self._tokenizer: LLTokenizer | None = None
        self._compiled: OrderedDict[Guide, LLMatcher] = OrderedDict()

    def compile(self, guide: Guide) -> None:
        """Raises ValueError with the grammar's fault."""
        if guide in self._compiled:
            return
        matcher = LLMatcher(self._vocabulary(), _grammar(guide), log_level=0)
        if matcher.is_error():
            raise ValueError(_first_line(matcher.get_error()))
        self._compiled[guide] = matcher
        while len(self._compiled) > CACHED_MAX:
            self._compiled.popitem(last=False)

    def begin(self, guide: Guide) -> Matching:
        """Raises ValueError."""
        self.compile(guide)
        self._compiled.move_to_end(guide)
        return Matching(self._compiled[guide].deep_copy())

    def _vocabulary(self) -> LLTokenizer:
        if self._tokenizer is None:  # about a second for a large vocabulary
            self._tokenizer = llguidance.hf.from_tokenizer(self._hf.hf, eos_token=sorted(self._eos) or None)
        return self._tokenizer


class Matching:
    """Where one output stands in its grammar."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def mask(self, logits: torch.Tensor) -> None:
        allowed = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        size = min(len(allowed), logits.shape[0])
        logits[size:] = -torch.inf
        forbidden = torch.from_numpy(allowed[:size] == 0).to(logits.device)
        logits[:size].masked_fill_(forbidden, -torch.inf)

    def advance(self, token: int) -> None:
        self._matcher.consume_token(token)

    @property
    def is_complete(self) -> bool:
        return bool(self._matcher.is_stopped())


def _grammar(guide: Guide) -> Any:
    match guide.kind:
        case "json_schema":
            return LLMatcher.grammar_from_json_schema(guide.source)
        case "regex":
            return LLMatcher.grammar_from_regex(guide.source)
        case "grammar":
            return LLMatcher.grammar_from_lark(guide.source)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "not understood"
