"""From a batch's logits to its next tokens: every row after its own sampling parameters.

Shapes: logits are [rows, vocabulary], float32, on the model's device.
"""

from __future__ import annotations

import torch

from kaito.inference.engines.transformers.sequence import Sequence
from kaito.inference.generation import TokenLogprob


def choose(rows: list[Sequence], logits: torch.Tensor) -> tuple[list[int], list[TokenLogprob | None]]:
    """The next token of every row, and its logprob where that is asked for. May change `logits`."""
    logprobs = _logprobs_wanted(rows, logits)
    for index, row in enumerate(rows):
        _shape(row, logits[index])
    tokens = torch.argmax(logits, dim=-1)
    drawn = [index for index, row in enumerate(rows) if row.sampling.temperature > 0]
    if drawn:
        which = torch.tensor(drawn, device=logits.device)
        tokens[which] = _draw([rows[index] for index in drawn], logits[which])
    chosen: list[int] = tokens.tolist()
    return chosen, [_logprob(row, logprobs, index, chosen[index]) for index, row in enumerate(rows)]


def _shape(row: Sequence, logits: torch.Tensor) -> None:
    """Penalties, bias, forbidden end and guide on one row's logits [vocabulary], in place."""
    sampling = row.sampling
    if sampling.repetition_penalty != 1.0:
        seen = torch.tensor(sorted({*row.job.prompt, *row.counts}), device=logits.device)
        values = logits[seen]
        penalty = sampling.repetition_penalty
        logits[seen] = torch.where(values > 0, values / penalty, values * penalty)
    if row.counts and (sampling.frequency_penalty or sampling.presence_penalty):
        tokens = torch.tensor(list(row.counts), device=logits.device)
        counts = torch.tensor(list(row.counts.values()), dtype=logits.dtype, device=logits.device)
        logits[tokens] -= counts * sampling.frequency_penalty + sampling.presence_penalty
    for token, bias in sampling.bias:
        logits[token] += bias
    if row.forbids_end:
        logits[list(row.eos | sampling.stop_tokens)] = -torch.inf
    if row.guide is not None:
        row.guide.mask(logits)


def _draw(rows: list[Sequence], logits: torch.Tensor) -> torch.Tensor:
    """[rows] tokens by inverse transform sampling: one uniform number a row, so a row depends on its seed alone."""
    device = logits.device
    temperature = torch.tensor([row.sampling.temperature for row in rows], device=device).unsqueeze(1)
    probabilities = torch.softmax(logits / temperature, dim=-1)
    if any(row.sampling.min_p for row in rows):
        floor = torch.tensor([row.sampling.min_p for row in rows], device=device).unsqueeze(1)
        highest = probabilities.max(dim=-1, keepdim=True).values
        probabilities = probabilities.masked_fill(probabilities < floor * highest, 0.0)
    order = None
    if any(row.sampling.top_p < 1.0 or row.sampling.top_k for row in rows):
        probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
        _cut(rows, probabilities)
    # Doubles: over 200,000 float32 terms the sum is off by more than the rarest tokens have.
    sums = probabilities.double().cumsum(dim=-1)
    chance = torch.tensor([row.draw() for row in rows], dtype=torch.float64, device=device).unsqueeze(1)
    places = torch.searchsorted(sums, chance * sums[:, -1:], right=True)
    last = (probabilities > 0).long().cumsum(dim=-1).argmax(dim=-1, keepdim=True)
    places = torch.minimum(places, last)
    return (places if order is None else order.gather(1, places)).squeeze(1)


def _cut(rows: list[Sequence], probabilities: torch.Tensor) -> None:
    """top_k, then top_p of what is left, on rows that are sorted from the most probable down. In place."""
    device, size = probabilities.device, probabilities.shape[1]
    keep = torch.tensor([row.sampling.top_k or size for row in rows], device=device).unsqueeze(1)
    probabilities.masked_fill_(torch.arange(size, device=device).unsqueeze(0) >= keep, 0.0)
    mass = torch.tensor([row.sampling.top_p for row in rows], device=device).unsqueeze(1)
    shares = probabilities / probabilities.sum(dim=-1, keepdim=True)
    before = shares.cumsum(dim=-1) - shares
    # What comes before a token already has the mass: the token goes. Of a row with top_p 1 nothing goes.
    probabilities.masked_fill_((before >= mass) & (mass < 1.0), 0.0)


def _logprobs_wanted(rows: list[Sequence], logits: torch.Tensor) -> torch.Tensor | None:
    if all(row.sampling.top_logprobs is None for row in rows):
        return None
    return torch.log_softmax(logits, dim=-1)


def _logprob(row: Sequence, logprobs: torch.Tensor | None, index: int, token: int) -> TokenLogprob | None:
    if logprobs is None or row.sampling.top_logprobs is None:
        return None
    return token_logprob(logprobs[index], token, row.sampling.top_logprobs)


def token_logprob(logprobs: torch.Tensor, token: int, alternatives: int) -> TokenLogprob:
    """Of one position's logprobs [vocabulary]."""
    best = torch.topk(logprobs, min(alternatives, logprobs.shape[0])) if alternatives else None
    top = () if best is None else tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return TokenLogprob(token, float(logprobs[token]), top)
