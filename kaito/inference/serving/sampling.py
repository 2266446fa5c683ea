"""From a request's fields to `Sampling`: defaults, bounds that depend on the model, errors that name the field."""

from __future__ import annotations

from typing import Any

from kaito.inference.generation import Guide, ModelInfo, Sampling, Tokenizer
from kaito.web.openai.common import SamplingFields
from kaito.web.openai.errors import invalid

NOTHING: frozenset[int] = frozenset()
GREEDY_BELOW = 1e-5  # vLLM's bound: a smaller temperature overflows


def sampling_of(
    request: SamplingFields,
    *,
    info: ModelInfo,
    tokenizer: Tokenizer,
    tokens_max: int,
    top_logprobs: int | None,
    prompt_logprobs: int | None = None,
    guide: Guide | None = None,
) -> Sampling:
    """Raises ApiError (400)."""
    temperature = _chosen(request.temperature, "temperature", info, 1.0)
    if request.min_tokens is not None and request.min_tokens > tokens_max:
        raise invalid(f"min_tokens={request.min_tokens} is more than max_tokens={tokens_max}", param="min_tokens")
    return Sampling(
        tokens_max=tokens_max,
        temperature=0.0 if temperature < GREEDY_BELOW else temperature,
        top_p=_chosen(request.top_p, "top_p", info, 1.0),
        top_k=max(_chosen(request.top_k, "top_k", info, 0), 0),
        min_p=_chosen(request.min_p, "min_p", info, 0.0),
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        repetition_penalty=_chosen(request.repetition_penalty, "repetition_penalty", info, 1.0),
        seed=request.seed,
        stop=_stop(request.stop),
        keeps_stop=bool(request.include_stop_str_in_output),
        stop_tokens=frozenset(request.stop_token_ids) if request.stop_token_ids else NOTHING,
        ignores_eos=bool(request.ignore_eos),
        tokens_min=request.min_tokens or 0,
        bias=_bias(request.logit_bias, tokenizer.vocabulary_size),
        top_logprobs=top_logprobs,
        prompt_logprobs=prompt_logprobs,
        guide=guide,
        skips_special=request.skip_special_tokens is not False,
    )


def tokens_max_of(wanted: int | None, prompt_tokens: int, context_tokens: int) -> int:
    """How many tokens may be generated. Raises ApiError where prompt and answer do not fit."""
    room = context_tokens - prompt_tokens
    if room < 1:
        raise invalid(
            f"The prompt has {prompt_tokens} tokens, and this model's context ends at {context_tokens}: shorten it by "
            f"at least {1 - room} tokens, or set truncate_prompt_tokens.",
            param="messages",
            code="context_length_exceeded",
        )
    if wanted is not None and wanted > room:
        raise invalid(
            f"max_tokens={wanted} and a prompt of {prompt_tokens} tokens exceed this model's context of "
            f"{context_tokens} tokens: at most {room} are left for the answer.",
            param="max_tokens",
            code="context_length_exceeded",
        )
    return room if wanted is None else wanted


def truncated(prompt: list[int], request: SamplingFields, context_tokens: int) -> list[int]:
    """The prompt's end, where the request says that its beginning may go."""
    if (keep := request.truncate_prompt_tokens) is None or keep == 0:
        return prompt
    return prompt[-(context_tokens - 1 if keep < 0 else keep) :]


def _chosen(given: Any, name: str, info: ModelInfo, otherwise: Any) -> Any:
    return given if given is not None else info.defaults.get(name, otherwise)


def _stop(stop: str | list[str] | None) -> tuple[str, ...]:
    if stop is None:
        return ()
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if any(not text for text in stops):
        raise invalid("stop: an empty string would stop at once", param="stop")
    return stops


def _bias(bias: dict[str, float] | None, vocabulary_size: int) -> tuple[tuple[int, float], ...]:
    if not bias:
        return ()
    found = []
    for key, value in bias.items():
        if not key.isdecimal() or int(key) >= vocabulary_size:
            raise invalid(
                f"logit_bias: {key!r} is not a token id of this model (0 to {vocabulary_size - 1})", param="logit_bias"
            )
        found.append((int(key), value))
    return tuple(found)
