"""How probable a prompt is, token by token: a plain forward pass beside the batch."""

from __future__ import annotations

from typing import Any

import torch

from kaito.inference.engines.transformers.sampler import token_logprob
from kaito.inference.generation import TokenLogprob

LOGITS_MAX = 1 << 27  # elements at a time: [positions, vocabulary] of a long prompt would not fit


def prompt_logprobs(model: Any, prompt: list[int], alternatives: int) -> list[TokenLogprob | None]:
    """One entry a token; None for the first, which nothing came before."""
    with torch.inference_mode():
        return _prompt_logprobs(model, prompt, alternatives)


def _prompt_logprobs(model: Any, prompt: list[int], alternatives: int) -> list[TokenLogprob | None]:
    ids = torch.tensor([prompt], device=model.device)
    entries: list[TokenLogprob | None] = [None]
    step = max(1, LOGITS_MAX // model.config.get_text_config().vocab_size)
    for begin in range(0, len(prompt) - 1, step):
        places = torch.arange(begin, min(begin + step, len(prompt) - 1), device=model.device)
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=places).logits[0].float()
        rows = torch.log_softmax(logits, dim=-1)
        for row, place in enumerate(places.tolist()):
            entries.append(token_logprob(rows[row], prompt[place + 1], alternatives))
    return entries
