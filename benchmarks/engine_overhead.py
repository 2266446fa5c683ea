"""What the HTTP face takes of a real engine's throughput: `python -m benchmarks.engine_overhead`.

A model with random weights on the transformers engine, once asked directly, once through the server by clients in
another process, in turns. The engine samples and decodes in both cases; the difference is HTTP, JSON and events.

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
from pathlib import Path
from time import monotonic, thread_time

import uvloop

from kaito.inference.app import App
from kaito.inference.generation import Generator, Job, Outcome, Sampling
from kaito.inference.progress import StartProgress
from kaito.inference.server import listen
from kaito.inference.settings import ModelSettings, ServerSettings
from kaito.web.memory import settle_memory

STREAMS, TOKENS = 16, 48
PROMPT = list(range(10, 40))


async def engine_overhead(rounds: int) -> dict[str, float]:
    """Tokens a second without and with the server, and what is lost, as medians of the rounds' ratios."""
    from kaito.inference.engines.transformers.opening import open_transformers

    with tempfile.TemporaryDirectory() as folder:
        parameters = make_model(Path(folder))
        model = ModelSettings(model=folder, served_names=("fake",), slots_max=STREAMS, context_tokens=1024)
        settings = ServerSettings(host="127.0.0.1", port=0, model=model)
        progress = StartProgress(monotonic)
        app = App(settings, progress)
        engine = await open_transformers(model, progress.report)
        app.state.open(engine)
        runner = await listen(app, settings)
        settle_memory()
        bare_s, served_s, loop_s = [], [], []
        try:
            port = runner.addresses[0][1]
            await ask_engine(engine.generator, "warm")  # type: ignore[attr-defined]
            await ask_server(port)
            for turn in range(rounds):
                begun = thread_time()  # of the event loop's thread; the model runs on others
                bare_s.append(await ask_engine(engine.generator, str(turn)))  # type: ignore[attr-defined]
                between = thread_time()
                served_s.append(await ask_server(port))
                loop_s.append((thread_time() - between) - (between - begun))
        finally:
            await engine.stop()
            await runner.cleanup()
    tokens = STREAMS * TOKENS
    ratios = [served / bare - 1 for bare, served in zip(bare_s, served_s, strict=True)]
    return {
        "engine_parameters": parameters,
        "engine_tokens_per_s": round(tokens / statistics.median(bare_s), 1),
        "engine_tokens_per_s_served": round(tokens / statistics.median(served_s), 1),
        "engine_overhead_percent": round(100 * statistics.median(ratios), 2),
        "engine_loop_cpu_percent": round(100 * statistics.median(loop_s) / statistics.median(bare_s), 2),
    }


def make_model(folder: Path) -> int:
    """A Llama small enough for two cores; its size."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from kaito.inference.engines.tiny_tokenizer import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(7)
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


async def ask_engine(generator: Generator, name: str) -> float:
    """Seconds that the sequences take without a server."""
    done = asyncio.get_running_loop().create_future()
    left = STREAMS

    def sink(outcomes: list[tuple[int, Outcome]]) -> None:
        nonlocal left
        left -= sum(1 for _, outcome in outcomes if getattr(outcome, "finish", "failed"))
        if not left and not done.done():
            done.set_result(None)

    sampling = Sampling(TOKENS, temperature=0.7, top_p=0.95, seed=7, ignores_eos=True)
    begun = monotonic()
    for number in range(STREAMS):
        await generator.submit(Job(f"{name}-{number}", PROMPT, sampling, sink, number))
    await done
    return monotonic() - begun


async def ask_server(port: int) -> float:
    """Seconds that as many streams take, as their clients see it."""
    words = [sys.executable, "-m", "benchmarks.serving_load", *map(str, (port, STREAMS, 1, TOKENS))]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return float(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine_overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds; medians count (default: 7)")
    print(json.dumps(uvloop.run(engine_overhead(parser.parse_args().rounds))))
