"""Batching for every other architecture: a cohort of sequences goes through `model.generate` together.

`generate` knows how each architecture keeps its state. Sequences cannot join it half-way, so a cohort that others wait
for ends after a slice, and goes on with them: its sequences are then read again from their beginning.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import LogitsProcessorList, StoppingCriteriaList

from kaito.inference.engines.transformers.adapters import Adapters
from kaito.inference.engines.transformers.generator import Board
from kaito.inference.engines.transformers.loading import Loaded
from kaito.inference.engines.transformers.sampler import choose
from kaito.inference.engines.transformers.sequence import Sequence
from kaito.inference.settings import ModelSettings

SLICE_STEPS = 64  # that a cohort may run on while others wait for a free slot
STOP_TIMEOUT_S = 10.0


class CohortBatcher:
    """A `Batcher`."""

    def __init__(self, loaded: Loaded, adapters: Adapters, settings: ModelSettings, board: Board) -> None:
        self.context_tokens = loaded.info.context_tokens
        self.death = ""
        self._model, self._adapters, self.board = loaded.model, adapters, board
        self.slots = settings.slots_max
        self._pad = min(loaded.eos, default=0)
        self._changed = threading.Condition()
        self._model_lock = threading.Lock()  # held for a slice
        self._pauses = 0
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="cohorts", daemon=True)
        self._thread.start()

    def add(self, sequence: Sequence) -> bool:
        with self._changed:
            self._changed.notify_all()
        return not self.death and not self._is_stopping

    def cancel(self, sequence_id: str) -> None:
        """It is not on the board any more: the next step sees that."""

    @contextmanager
    def paused(self) -> Iterator[None]:
        with self._changed:
            self._pauses += 1
        try:
            with self._model_lock:
                yield
        finally:
            with self._changed:
                self._pauses -= 1
                self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            while rows := self._next_cohort():
                with self._model_lock, torch.inference_mode():
                    self._slice(rows)
        except Exception as error:  # the thread's end is the engine's: told to every request, and by readiness
            for sequence_id in list(self.board.sequences):
                self.board.fail(sequence_id, error)
            self.death = self.board.fault or str(error)

    def _next_cohort(self) -> list[Sequence]:
        """Waits for sequences and for pauses to end; empty when it is time to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping or (self.board.sequences and not self._pauses))
            return [] if self._is_stopping else list(self.board.sequences.values())[: self.slots]

    def _slice(self, rows: list[Sequence]) -> None:
        histories = [row.job.prompt + row.output for row in rows]
        longest = max(len(history) for history in histories)
        # Padding on the left: every row's next token comes at the same place.
        ids = [[self._pad] * (longest - len(history)) + history for history in histories]
        mask = [[0] * (longest - len(history)) + [1] * len(history) for history in histories]
        device = self._model.device
        steps = _Steps(self, rows)
        for row in rows:
            row.is_started = True
        self._adapters.route_rows([row.adapter for row in rows])
        self._model.generate(
            torch.tensor(ids, device=device),
            attention_mask=torch.tensor(mask, device=device),
            do_sample=False,
            eos_token_id=None,
            pad_token_id=self._pad,
            max_new_tokens=max(row.sampling.tokens_max - len(row.output) for row in rows),
            logits_processor=LogitsProcessorList([steps.sample]),
            stopping_criteria=StoppingCriteriaList([steps.is_over]),
        )

    def must_end(self, steps: int, live: int) -> bool:
        """Whether the slice ends for others: for the end, for who wants the model, for who would find a slot."""
        if self._is_stopping or self._pauses:
            return True
        has_room = steps >= SLICE_STEPS and live < self.slots
        return has_room and any(not sequence.is_started for sequence in list(self.board.sequences.values()))


class _Steps:
    """What happens at each step of one slice."""

    def __init__(self, batcher: CohortBatcher, rows: list[Sequence]) -> None:
        self._batcher, self._rows = batcher, rows
        self._count = 0

    def _live(self) -> list[int]:
        sequences = self._batcher.board.sequences
        return [place for place, row in enumerate(self._rows) if row.job.id in sequences]

    def sample(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """[rows, vocabulary] in; out, with the chosen token of every row that runs as the highest."""
        board, live = self._batcher.board, self._live()
        if not live:
            return scores
        self._count += 1
        scores = scores.float()
        tokens, logprobs = choose([self._rows[place] for place in live], scores[live])
        for place, token, logprob in zip(live, tokens, logprobs, strict=True):
            row = self._rows[place]
            scores[place, token] = torch.inf
            delta = row.advance(token, logprob)
            if delta.finish:
                board.sequences.pop(row.job.id, None)
            board.outbox.put(row.job.sink, row.job.index, delta)
        board.outbox.flush()
        return scores

    def is_over(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        live = self._live()
        ends = not live or self._batcher.must_end(self._count, len(live))
        return torch.full((input_ids.shape[0],), ends, device=input_ids.device)
