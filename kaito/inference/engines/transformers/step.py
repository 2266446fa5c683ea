"""Our sampler inside transformers' continuous batching.

transformers samples the whole batch after one configuration, so that a request could have no seed, stop or logprobs of
its own. It asks a list of logits processors first, though: this object takes that list's place, samples every row after
its own parameters, and leaves the tokens as the highest scores, which transformers (set to greedy) then picks.
"""

from __future__ import annotations

from typing import Any

import torch

from kaito.inference.engines.transformers.adapters import BASE, Adapters
from kaito.inference.engines.transformers.generator import Board
from kaito.inference.engines.transformers.outbox import Outbox
from kaito.inference.engines.transformers.sampler import choose
from kaito.inference.engines.transformers.sequence import Sequence


class StepSampler:
    """Stands in for ContinuousBatchingLogitsProcessorList; called on the engine's thread, once a step."""

    tensors_required = 0
    do_processing = True

    def __init__(self, sequences: dict[str, Sequence], outbox: Outbox, adapters: Adapters) -> None:
        self._sequences = sequences
        self._outbox = outbox
        self._adapters = adapters
        self._states: list[Any] = []

    def check_kwargs(self, kwargs: dict[str, Any]) -> None:
        assert not kwargs

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        pass

    def prepare_tensor_args(self, requests_in_batch: list[Any], arg_storage: torch.Tensor) -> torch.Tensor:
        """Which requests the rows of the coming logits belong to, in order."""
        self._states = [request.state for request in requests_in_batch if request.has_new_token]
        spans, rows = [], []
        for request in requests_in_batch:
            adapter = BASE  # of one that was cancelled meanwhile
            if sequence := self._sequences.get(request.state.request_id):
                sequence.is_started = True
                adapter = sequence.adapter
            spans.append((adapter, request.query_length))
            if request.has_new_token:
                rows.append(adapter)
        self._adapters.route(spans, rows)
        return arg_storage

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, arguments: torch.Tensor) -> torch.Tensor:
        """[rows, vocabulary] logits in, scores out whose maxima are the chosen tokens."""
        rows = [(i, found) for i, state in enumerate(self._states) if (found := self._sequences.get(state.request_id))]
        if not rows:
            return scores  # all cancelled while the model ran
        ours = scores if len(rows) == len(scores) else scores[[place for place, _ in rows]]
        tokens, logprobs = choose([sequence for _, sequence in rows], ours)
        for (place, sequence), token, logprob in zip(rows, tokens, logprobs, strict=True):
            scores[place, token] = torch.inf
            delta = sequence.advance(token, logprob)
            if delta.finish:
                # transformers ends the request with this token, and its slot is free before the next step.
                self._states[place]._eos_token_ids.add(token)
                self._sequences.pop(sequence.job.id, None)
            self._outbox.put(sequence.job.sink, sequence.job.index, delta)
        self._outbox.flush()
        return scores


class Router:
    """Stands in for transformers' OutputRouter: tokens have gone out already, failures go here."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def deliver(self, output: Any) -> None:
        pass

    def deliver_batch(self, outputs: list[Any]) -> None:
        pass

    def fail_and_deliver(self, state: Any, error: Exception) -> None:
        self._board.fail(state.request_id, error)
