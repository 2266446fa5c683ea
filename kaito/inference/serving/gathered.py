"""What a sequence has said so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from kaito.inference.generation import Delta, Finish, TokenLogprob


@dataclass(slots=True)
class Gathered:
    pieces: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprob | None] | None = None
    finish: Finish | None = None
    stop_reason: str | int | None = None

    def add(self, delta: Delta) -> None:
        self.pieces.append(delta.text)
        self.tokens += delta.tokens
        if delta.logprobs:
            self.logprobs += delta.logprobs
        if delta.prompt_logprobs is not None:
            self.prompt_logprobs = delta.prompt_logprobs
        if delta.finish is not None:
            self.finish, self.stop_reason = delta.finish, delta.stop_reason

    @property
    def text(self) -> str:
        return "".join(self.pieces)
