"""A sequence on its way: its tokens, what its sampling needs to remember, and when it ends."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Protocol

from kaito.inference.engines.transformers.detokenizer import Detokenizer
from kaito.inference.generation import Delta, Finish, Job, Tokenizer, TokenLogprob
from kaito.inference.stops import StopMatcher


class GuideState(Protocol):
    """Where the output stands in its grammar."""

    def mask(self, logits: Any) -> None:
        """Forbids, in a tensor [vocabulary], every token that may not come next."""

    def advance(self, token: int) -> None: ...

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow."""


class Sequence:
    """State of one job. Only the engine's thread touches it once it is submitted."""

    def __init__(self, job: Job, tokenizer: Tokenizer, eos: frozenset[int], seed: int) -> None:
        self.job = job
        self.sampling = job.sampling
        self.output: list[int] = []
        self.counts: Counter[int] = Counter()  # of output tokens, for the penalties
        self.adapter = ""  # its key among the engine's adapters
        self.is_started = False
        self.prompt_logprobs: list[TokenLogprob | None] | None = None  # go with the first delta
        self.guide: GuideState | None = None  # what the output must match
        self.eos = frozenset() if job.sampling.ignores_eos else eos
        # One uniform number a token, from a generator of its own: a seed gives the same tokens in any company.
        self._chance = random.Random(job.sampling.seed if job.sampling.seed is not None else seed)
        skips = job.sampling.skips_special
        self._text = Detokenizer(lambda tokens: tokenizer.decode(tokens, skip_special_tokens=skips))
        self._stops = StopMatcher(job.sampling.stop, job.sampling.keeps_stop)

    @property
    def forbids_end(self) -> bool:
        """Whether an end token may not come yet."""
        return len(self.output) < self.sampling.tokens_min

    def draw(self) -> float:
        """A number in [0, 1)."""
        return self._chance.random()

    def nothing(self) -> Delta:
        """The only delta of a sequence that may not have a token."""
        return Delta([], "", finish="length", prompt_logprobs=self.prompt_logprobs)

    def advance(self, token: int, logprob: TokenLogprob | None) -> Delta:
        """Takes the next token in. The delta has `finish` when it was the last."""
        delta = self._take(token, logprob)
        delta.prompt_logprobs, self.prompt_logprobs = self.prompt_logprobs, None
        return delta

    def _take(self, token: int, logprob: TokenLogprob | None) -> Delta:
        self.output.append(token)
        self.counts[token] += 1
        logprobs = None if logprob is None else [logprob]
        if self.guide is not None:
            self.guide.advance(token)
        is_end = token in self.eos
        if (is_end or token in self.sampling.stop_tokens) and len(self.output) > self.sampling.tokens_min:
            return self._end("stop", token, "", logprobs, None if is_end else token)
        text, stop = self._let_through(self._text.push(token))
        if stop:
            return Delta([token], text, logprobs, "stop", stop)
        if self.guide is not None and self.guide.is_complete:
            return self._end("stop", token, text, logprobs, None)
        if len(self.output) >= self.sampling.tokens_max:
            return self._end("length", token, text, logprobs, None)
        return Delta([token], text, logprobs)

    def _let_through(self, text: str) -> tuple[str, str]:
        if len(self.output) <= self.sampling.tokens_min:
            return text, ""
        return self._stops.feed(text)

    def _end(
        self,
        finish: Finish,
        token: int,
        text: str,
        logprobs: list[TokenLogprob] | None,
        reason: int | None,
    ) -> Delta:
        """The last delta, with what was held back; a stop string may still be in it."""
        tail, stop = self._stops.feed(self._text.flush())
        if stop:
            return Delta([token], text + tail, logprobs, "stop", stop)
        return Delta([token], text + tail + self._stops.flush(), logprobs, finish, reason)
