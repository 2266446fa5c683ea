"""Peak throughput, measured once after loading: as many streams as the cache holds, for a bounded time.

It runs inside the server, before readiness, and never longer than its stated duration: what is not finished then is
cancelled, and the tokens made so far count. The tagged lines are what KAITO's controllers look for in the pod's log.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from kaito.clock import rfc3339, wall_clock
from kaito.inference.engine import Call, Engine, Operation
from kaito.inference.serving_state import ServingState
from kaito.logs import Event
from kaito.web.openai.errors import ApiError, internal
from kaito.web.sse import EventDecoder

INPUT_TOKENS, OUTPUT_TOKENS = 2048, 256
FAILED = {"vllm_total_tpm": -1, "ttft_avg_ms": -1, "tpot_avg_ms": -1}
CACHE = re.compile(r'^vllm:cache_config_info\{.*block_size="(\d+)".*num_gpu_blocks="(\d+)"', re.MULTILINE)


@dataclass(slots=True)
class Samples:
    """Seconds to the first token, and from token to token."""

    first_s: list[float] = field(default_factory=list)
    next_s: list[float] = field(default_factory=list)


async def run_benchmark(state: ServingState, engine: Engine, clock: Callable[[], float]) -> None:
    """Publishes the result in the log and at /kaito/benchmark; a failure too. Never raises ApiError."""
    card = engine.models()[0]
    context = card.max_model_len or INPUT_TOKENS + OUTPUT_TOKENS
    output = min(OUTPUT_TOKENS, max(1, context // 9))
    input_tokens = min(INPUT_TOKENS, context - output - 1)
    config = {
        "duration_sec": state.settings.benchmark_duration_s,
        "input_tokens": input_tokens,
        "output_tokens": output,
        "max_concurrency": concurrency(engine, input_tokens + output),
    }
    _say("KAITO_BENCHMARK_CONFIG", config)
    samples = Samples()
    before, begun = _tokens(engine), clock()
    try:
        async with asyncio.timeout(state.settings.benchmark_duration_s):
            await _load(engine, card.id, config, samples, clock)
    except TimeoutError:
        pass
    except ApiError as error:
        structlog.get_logger().warning(Event.BENCHMARK_ENDED, reason=error.message)
    elapsed_s = clock() - begun
    result = result_of(_tokens(engine) - before, elapsed_s, samples)
    _say("KAITO_BENCHMARK_CONFIG", config)
    _say("KAITO_BENCHMARK_RESULT", result)
    state.benchmark = json.dumps({**config, **result, "elapsed_s": round(elapsed_s, 2)}).encode()


def result_of(tokens: float, elapsed_s: float, samples: Samples) -> dict[str, float]:
    """The payload of KAITO_BENCHMARK_RESULT; -1 where nothing was generated."""
    if not samples.first_s or elapsed_s <= 0:
        return dict(FAILED)
    following = samples.next_s or [0.0]
    return {
        "vllm_total_tpm": round(tokens * 60 / elapsed_s, 2),
        "ttft_avg_ms": round(sum(samples.first_s) / len(samples.first_s) * 1e3, 2),
        "tpot_avg_ms": round(sum(following) / len(following) * 1e3, 2),
    }


def concurrency(engine: Engine, tokens: int) -> int:
    """How many sequences of so many tokens the caches hold at once, within the engine's slots."""
    caches = CACHE.findall(engine.exposition().decode())  # one of each copy of the model
    if not caches:
        return engine.slots
    held = sum(int(blocks) // -(-tokens // int(block_size)) for block_size, blocks in caches)
    return max(1, min(engine.slots, held))


async def _load(
    engine: Engine, model: str, config: dict[str, Any], samples: Samples, clock: Callable[[], float]
) -> None:
    """`max_concurrency` streams, each followed by the next, until cancelled. Raises ApiError."""

    async def stream(number: int) -> None:
        turn = 0
        while True:
            turn += 1
            # Other tokens every time: a prompt that is in the cache already would measure nothing.
            prompt = [
                10 + (number * 7919 + turn * 104729 + place * 31) % 200 for place in range(config["input_tokens"])
            ]
            await _ask(engine, model, prompt, config["output_tokens"], f"benchmark-{number}-{turn}", samples, clock)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(config["max_concurrency"]):
                group.create_task(stream(number))
    except* ApiError as errors:
        raise errors.exceptions[0] from None


async def _ask(
    engine: Engine,
    model: str,
    prompt: list[int],
    output_tokens: int,
    request_id: str,
    samples: Samples,
    clock: Callable[[], float],
) -> None:
    """Raises ApiError for an answer that fails, also in its midst."""
    body = {
        "model": model,
        "prompt": prompt,
        "max_tokens": output_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "return_token_ids": True,  # a token without text yet is an event too
    }
    decoder, begun = EventDecoder(), clock()
    last = 0.0

    def write(data: bytes) -> None:
        """Each token counts as it comes: the end of the benchmark may cut any stream off."""
        nonlocal last
        now = clock()
        for event in decoder.feed(data):
            if event.data == "[DONE]":
                continue
            if event.data.startswith('{"error"'):
                raise internal(str(json.loads(event.data)["error"]["message"]))
            if last:
                samples.next_s.append(now - last)
            else:
                samples.first_s.append(now - begun)
            last = now

    reply = await engine.run(Operation.COMPLETIONS, json.dumps(body).encode(), Call(request_id))
    assert not isinstance(reply, bytes)
    await reply.pump(write)
    if not last:
        raise internal("the engine ended an answer without a token")  # asked again and again it would never end


def _tokens(engine: Engine) -> float:
    """Prompt and generated tokens since the start."""
    names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
    lines = engine.exposition().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(names))


def _say(tag: str, payload: dict[str, Any]) -> None:
    """Exactly this form, on standard output: controllers parse it."""
    sys.stdout.write(f"{tag} {rfc3339(wall_clock())} {json.dumps(payload)}\n")
    sys.stdout.flush()
