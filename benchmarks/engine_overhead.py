"""What the HTTP face takes of a real engine's throughput: `python -m benchmarks.engine_overhead`.

A model with random weights (`--shape phi-4-mini`: of full size, for a GPU) on `--engine transformers` or vllm, once
asked directly, once through the server by clients in another process, in turns. The engine samples and decodes in both
cases; the difference is HTTP, JSON and events.

Two figures: the throughput that was lost, which on a shared machine is mostly noise; and the CPU time that the event
loop took more, as a share of the engine's time: all that could be lost if nothing of it overlapped with the model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, thread_time
from typing import Any

import uvloop

from benchmarks.engine_models import SHAPES, make_model
from benchmarks.serving_load import BODY
from kaito.inference.app import App
from kaito.inference.engine import Call, Engine, Operation
from kaito.inference.engines.opening import open_engine
from kaito.inference.generation import Job, Outcome, Sampling
from kaito.inference.progress import StartProgress
from kaito.inference.server import listen
from kaito.inference.settings import ModelSettings, ServerSettings
from kaito.web.memory import settle_memory

CONTEXT_TOKENS = 2048
Ask = Callable[[], Awaitable[float]]  # seconds


@dataclass(frozen=True, slots=True)
class Load:
    """`streams` answers of `tokens` tokens, side by side."""

    engine: str = "transformers"
    shape: str = "tiny-llama"
    streams: int = 16
    tokens: int = 48

    def settings(self, folder: str) -> ServerSettings:
        model = ModelSettings(
            model=folder, served_names=("fake",), slots_max=self.streams, context_tokens=CONTEXT_TOKENS
        )
        arguments = ("--served-model-name=fake", f"--max-num-seqs={self.streams}", f"--max-model-len={CONTEXT_TOKENS}")
        return ServerSettings(engine=self.engine, host="127.0.0.1", port=0, model=model, engine_args=arguments)  # type: ignore[arg-type]


async def engine_overhead(rounds: int, load: Load) -> dict[str, Any]:
    """Tokens a second without and with the server, and what is lost, as medians of the rounds' ratios."""
    with tempfile.TemporaryDirectory() as folder:
        parameters = await asyncio.to_thread(make_model, Path(folder), load.shape)
        settings = load.settings(folder)
        progress = StartProgress(monotonic)
        app = App(settings, progress)
        engine = await open_engine(settings, progress.report)
        app.state.open(engine)
        runner = await listen(app, settings)
        settle_memory()
        try:
            port = runner.addresses[0][1]
            bare_s, served_s, loop_s = await in_turns(
                rounds, await bare(engine, load), lambda: ask_server(port, load.streams, load.tokens)
            )
        finally:
            await engine.stop()
            await runner.cleanup()
    tokens = load.streams * load.tokens
    ratios = [served / alone - 1 for alone, served in zip(bare_s, served_s, strict=True)]
    return {
        "engine": load.engine,
        "engine_device": device(),
        "engine_parameters": parameters,
        "engine_streams": load.streams,
        "engine_tokens_per_s": round(tokens / statistics.median(bare_s), 1),
        "engine_tokens_per_s_served": round(tokens / statistics.median(served_s), 1),
        "engine_served_to_bare": round(1 / (1 + statistics.median(ratios)), 4),
        "engine_overhead_percent": round(100 * statistics.median(ratios), 2),
        "engine_loop_cpu_percent": round(100 * statistics.median(loop_s) / statistics.median(bare_s), 2),
    }


async def in_turns(rounds: int, ask_bare: Ask, ask_served: Ask) -> tuple[list[float], list[float], list[float]]:
    """Seconds of each round: bare, served, and what the loop's thread took more for it. The model runs on others."""
    await ask_bare()
    await ask_served()
    bare_s, served_s, loop_s = [], [], []
    for _ in range(rounds):
        begun = thread_time()
        bare_s.append(await ask_bare())
        between = thread_time()
        served_s.append(await ask_served())
        loop_s.append((thread_time() - between) - (between - begun))
    return bare_s, served_s, loop_s


def device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


async def bare(engine: Engine, load: Load) -> Ask:
    """The same prompts and sampling, asked of the engine itself."""
    answer = await engine.run(
        Operation.TOKENIZE, json.dumps({"model": "fake", "messages": BODY["messages"]}).encode(), Call("prompt")
    )
    assert isinstance(answer, bytes)
    prompt = json.loads(answer)["tokens"]
    ask = ask_vllm if load.engine == "vllm" else ask_generator
    turns = iter(range(1 << 30))

    async def timed() -> float:
        begun = monotonic()
        await ask(engine, prompt, load, f"bare-{next(turns)}")
        return monotonic() - begun

    return timed


async def ask_generator(engine: Any, prompt: list[int], load: Load, name: str) -> None:
    done = asyncio.get_running_loop().create_future()
    left = load.streams

    def sink(outcomes: list[tuple[int, Outcome]]) -> None:
        nonlocal left
        left -= sum(1 for _, outcome in outcomes if getattr(outcome, "finish", "failed"))
        if not left and not done.done():
            done.set_result(None)

    sampling = Sampling(load.tokens, temperature=0.7, top_p=0.95, seed=7, ignores_eos=True)
    for number in range(load.streams):
        await engine.generator.submit(Job(f"{name}-{number}", prompt, sampling, sink, number))
    await done


async def ask_vllm(engine: Any, prompt: list[int], load: Load, name: str) -> None:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    sampling = SamplingParams(
        max_tokens=load.tokens,
        temperature=0.7,
        top_p=0.95,
        seed=7,
        ignore_eos=True,
        output_kind=RequestOutputKind.DELTA,
    )

    async def one(number: int) -> None:
        async for _ in engine._client.generate({"prompt_token_ids": prompt}, sampling, f"{name}-{number}"):
            pass

    await asyncio.gather(*(one(number) for number in range(load.streams)))


async def ask_server(port: int, streams: int, tokens: int) -> float:
    """Seconds that as many streams take, as their clients see it."""
    words = [sys.executable, "-m", "benchmarks.serving_load", *map(str, (port, streams, 1, tokens))]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return float(out)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine_overhead", description=__doc__)
    usual = Load()
    parser.add_argument("--engine", choices=("transformers", "vllm"), default=usual.engine)
    parser.add_argument("--shape", choices=tuple(SHAPES), default=usual.shape)
    parser.add_argument("--streams", type=int, default=usual.streams)
    parser.add_argument("--tokens", type=int, default=usual.tokens, help="of each answer")
    parser.add_argument("--rounds", type=int, default=7, help="rounds; medians count (default: 7)")
    given = parser.parse_args()
    load = Load(given.engine, given.shape, given.streams, given.tokens)
    print(json.dumps(uvloop.run(engine_overhead(given.rounds, load))))


if __name__ == "__main__":
    main()
