"""Continuous batching: transformers' paged cache and scheduler, our sampling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from kaito.inference.engines.transformers.adapters import AdapterError, Adapters
from kaito.inference.engines.transformers.guided import Grammars
from kaito.inference.engines.transformers.loading import Loaded
from kaito.inference.engines.transformers.memory import kv_cache_tokens, out_of_memory_while_running
from kaito.inference.engines.transformers.outbox import Outbox
from kaito.inference.engines.transformers.scoring import prompt_logprobs
from kaito.inference.engines.transformers.sequence import Sequence
from kaito.inference.engines.transformers.step import Router, StepSampler
from kaito.inference.generation import Failure, Guide, Job, ModelInfo, Tokenizer, TokenLogprob
from kaito.inference.settings import ModelSettings
from kaito.web.openai.errors import invalid

PAGE_TOKENS = 64
BATCH_TOKENS = 512  # prompt tokens a step: longer prompts are cut, so that running sequences keep their pace
STOP_TIMEOUT_S = 10.0


class ContinuousGenerator:
    """A `Generator` whose steps run on a thread of transformers' own."""

    name = "transformers"

    def __init__(
        self, loaded: Loaded, adapters: Adapters, settings: ModelSettings, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Takes the cache's memory and starts the thread. Raises ValueError for an architecture that does not fit."""
        self._loaded, self._adapters, self._settings = loaded, adapters, settings
        self._sequences: dict[str, Sequence] = {}
        self._outbox = Outbox(loop)
        self._submitted = 0
        self._grammars = Grammars(loaded.tokenizer, loaded.eos)
        self._fault = ""
        cache_tokens = kv_cache_tokens(loaded.model, settings, loaded.info.context_tokens)
        context_tokens = min(loaded.info.context_tokens, cache_tokens - PAGE_TOKENS)
        self._info = ModelInfo(loaded.info.root, context_tokens, loaded.info.description, loaded.info.defaults)
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
        self._manager.logit_processor = StepSampler(self._sequences, self._outbox, adapters)
        self._manager.output_router = Router(self._sequences, self._outbox, self._failed)
        self._manager.start()

    @property
    def slots(self) -> int:
        return self._settings.slots_max

    @property
    def fault(self) -> str:
        if not self._fault and not self._manager.is_running():
            self._fault = f"the engine's loop has ended: {self._manager.background_thread_status.fatal_error}"
        return self._fault

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def tokenizer(self) -> Tokenizer:
        return self._loaded.tokenizer

    @property
    def adapters(self) -> Mapping[str, str]:
        return self._adapters.paths

    async def check_guide(self, guide: Guide) -> None:
        await asyncio.to_thread(self._grammars.compile, guide)

    async def submit(self, job: Job) -> None:
        if self.fault:
            self._fail(job, Failure(self.fault, 503))
            return
        sequence = self._sequence(job)
        if job.sampling.prompt_logprobs is not None:
            sequence.prompt_logprobs = await asyncio.to_thread(self._score, job, sequence.adapter)
        if job.sampling.tokens_max == 0:
            self._outbox.put(job.sink, job.index, sequence.nothing())
            self._outbox.flush()
            return
        self._sequences[job.id] = sequence
        taken = self._manager.add_request(
            job.prompt, request_id=job.id, max_new_tokens=job.sampling.tokens_max, eos_token_id=-1
        )
        if taken is None and self._sequences.pop(job.id, None) is not None:
            self._fail(job, Failure("the engine is stopping", 503))

    def _sequence(self, job: Job) -> Sequence:
        self._submitted += 1
        sequence = Sequence(job, self._loaded.tokenizer, self._loaded.eos, hash((self._settings.seed, self._submitted)))
        sequence.adapter = self._adapters.key_of(job.adapter)
        if job.sampling.guide is not None:
            sequence.guide = self._grammars.begin(job.sampling.guide)
        return sequence

    async def load_adapter(self, name: str, path: str) -> None:
        def load() -> None:
            with self._manager.pause():
                self._adapters.sweep(self._adapters_in_use())
                self._adapters.load(name, Path(path))

        self._check_lora()
        await self._change(load)

    async def unload_adapter(self, name: str) -> None:
        def unload() -> None:
            with self._manager.pause():
                self._adapters.unload(name, self._adapters_in_use())

        self._check_lora()
        await self._change(unload)

    def _check_lora(self) -> None:
        if not self._settings.enable_lora:
            raise invalid("The server was started without --enable-lora: its prefix cache would mix adapters up.")

    async def _change(self, change: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(change)
        except AdapterError as error:
            raise invalid(str(error), param="lora_name") from error

    def _adapters_in_use(self) -> set[str]:
        return {sequence.adapter for sequence in list(self._sequences.values())}

    def _score(self, job: Job, adapter: str) -> list[TokenLogprob | None]:
        """Between two steps of the batch, on a thread."""
        with self._manager.pause():
            self._adapters.route([(adapter, len(job.prompt))], [])
            return prompt_logprobs(self._loaded.model, job.prompt, job.sampling.prompt_logprobs or 0)

    def _fail(self, job: Job, failure: Failure) -> None:
        self._outbox.put(job.sink, job.index, failure)
        self._outbox.flush()

    def cancel(self, job_id: str) -> None:
        if self._sequences.pop(job_id, None) is not None:
            self._manager.cancel_request(job_id)

    async def stop(self) -> None:
        await asyncio.to_thread(self._manager.stop, block=True, timeout=STOP_TIMEOUT_S, hard_stop=True)

    def _failed(self, error: Exception) -> Failure:
        """Why a sequence failed; on the engine's thread, which ends after it."""
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            self._fault = out_of_memory_while_running(error)
        else:
            self._fault = f"the engine crashed: {type(error).__name__}: {error}"
        return Failure(self._fault, 500)

    def count(self) -> tuple[int, int]:
        started = sum(1 for sequence in list(self._sequences.values()) if sequence.is_started)
        return started, len(self._sequences) - started


def supports(model: Any) -> bool:
    """Whether transformers' continuous batching knows how to keep this model's cache."""
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"])
    return kinds <= {"full_attention", "sliding_attention"} and not getattr(model, "_is_stateful", False)
