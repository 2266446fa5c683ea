"""One request's sequences: begun together, ended together, cancelled together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeAlias

from msgspec import structs

from kaito.inference.generation import Delta, Failure, Generator, Job, Outcome, Sampling
from kaito.inference.metrics import Observed, TokenMetrics
from kaito.web.openai.errors import ApiError

OnDeltas: TypeAlias = Callable[[list[tuple[int, Delta]]], None]


@dataclass(slots=True)
class Run:
    """`choices` samples of every prompt; index = prompt × choices + choice."""

    generator: Generator
    metrics: TokenMetrics
    request_id: str
    prompts: list[list[int]]
    sampling: list[Sampling]  # one a prompt
    choices: int = 1
    adapter: str = ""
    _open: set[int] = field(default_factory=set)
    _observed: list[Observed] = field(default_factory=list)

    async def until_done(self, on_deltas: OnDeltas) -> None:
        """Feeds every delta. Raises ApiError when a sequence fails; ends what is left however it ends."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        indices = range(len(self.prompts) * self.choices)
        self._open = set(indices)
        observed = [self.metrics.started(len(self.prompts[index // self.choices])) for index in indices]
        self._observed = observed

        def sink(outcomes: list[tuple[int, Outcome]]) -> None:
            if done.done():
                return  # failed or cancelled: what was on its way is not wanted any more
            now = monotonic()
            has_ended = False
            for index, outcome in outcomes:
                if type(outcome) is Failure:
                    done.set_exception(ApiError(outcome.status, outcome.message, type="server_error"))
                    return
                assert type(outcome) is Delta
                observed[index].take(outcome, now)
                if outcome.finish is not None:
                    self._open.discard(index)
                    has_ended = True
            try:
                on_deltas(outcomes)  # type: ignore[arg-type]  # deltas all: the loop has seen them (cast is a call)
            except Exception as error:
                done.set_exception(error)
                return
            if has_ended and not self._open:
                done.set_result(None)

        try:
            for index in indices:
                await self.generator.submit(self._job(index, sink))
            await done
        finally:
            for index in self._open:
                self.generator.cancel(self._id(index))

    def _id(self, index: int) -> str:
        return f"{self.request_id}-{index}"

    def _job(self, index: int, sink: Callable[[list[tuple[int, Outcome]]], None]) -> Job:
        prompt, choice = divmod(index, self.choices)
        sampling = self.sampling[prompt]
        if choice and sampling.seed is not None:
            sampling = structs.replace(sampling, seed=sampling.seed + choice)  # the choices of one seed differ
        return Job(self._id(index), self.prompts[prompt], sampling, sink, index, self.adapter)

    @property
    def completion_tokens(self) -> int:
        return sum([observed.tokens for observed in self._observed])

    @property
    def prompt_tokens(self) -> int:
        return sum(len(prompt) for prompt in self.prompts)
