"""Continuous batching: transformers' paged cache and scheduler, our sampling; sequences join and leave at any step."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, cast

from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from kaito.inference.engines.transformers.adapters import Adapters
from kaito.inference.engines.transformers.generator import Board
from kaito.inference.engines.transformers.loading import Loaded
from kaito.inference.engines.transformers.memory import kv_cache_tokens
from kaito.inference.engines.transformers.sequence import Sequence
from kaito.inference.engines.transformers.step import Router, StepSampler
from kaito.inference.settings import ModelSettings

PAGE_TOKENS = 64
BATCH_TOKENS = 512  # prompt tokens a step: longer prompts are cut, so that running sequences keep their pace
STOP_TIMEOUT_S = 10.0
PAGED = frozenset({"full_attention", "sliding_attention"})


class ContinuousBatcher:
    """A `Batcher`. Takes the cache's memory and starts transformers' own thread."""

    def __init__(self, loaded: Loaded, adapters: Adapters, settings: ModelSettings, board: Board) -> None:
        cache_tokens = kv_cache_tokens(loaded.model, settings, loaded.info.context_tokens)
        self.context_tokens = min(loaded.info.context_tokens, cache_tokens - PAGE_TOKENS)
        self._manager = loaded.model.init_continuous_batching(
            GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0),
            ContinuousBatchingConfig(
                page_size=PAGE_TOKENS,
                num_blocks=cache_tokens // PAGE_TOKENS,
                max_batch_tokens=settings.batch_tokens_max or BATCH_TOKENS,
                max_requests_per_batch=settings.slots_max,
                # The cache knows tokens, not adapters: the same words under another adapter are not the same.
                allow_block_sharing=settings.prefix_caching and not settings.enable_lora and not adapters.paths,
                use_cuda_graph=False,  # every step samples in Python
                use_async_batching=False,
                auto_switch_to_flash=loaded.model.device.type == "cuda",
            ),
        )
        self._manager.logit_processor = StepSampler(board.sequences, board.outbox, adapters)
        self._manager.output_router = Router(board)
        self._manager.start()

    @property
    def death(self) -> str:
        if self._manager.is_running():
            return ""
        return f"the engine's loop has ended: {self._manager.background_thread_status.fatal_error}"

    def add(self, sequence: Sequence) -> bool:
        job = sequence.job
        added = self._manager.add_request(
            job.prompt, request_id=job.id, max_new_tokens=job.sampling.tokens_max, eos_token_id=-1
        )
        return added is not None

    def cancel(self, sequence_id: str) -> None:
        self._manager.cancel_request(sequence_id)

    def paused(self) -> AbstractContextManager[None]:
        return cast(AbstractContextManager[None], self._manager.pause())

    def stop(self) -> None:
        self._manager.stop(block=True, timeout=STOP_TIMEOUT_S, hard_stop=True)


def can_be_paged(model: Any) -> bool:
    """Whether transformers' continuous batching can keep this model's cache.

    Attention only, nothing recurrent; and not multi-head latent attention, whose keys and values differ in width.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    has_heads = bool(getattr(config, "num_attention_heads", 0)) and not getattr(config, "kv_lora_rank", None)
    return has_heads and kinds <= PAGED and not getattr(model, "_is_stateful", False)
