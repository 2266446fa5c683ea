"""The benchmark after loading: what it says, for how long, and what it leaves behind."""

from __future__ import annotations

import json
import re
from time import monotonic
from typing import Any

import pytest

from kaito.inference.generation import Failure, Job, ModelInfo
from kaito.inference.startup_benchmark import run_benchmark
from tests.unit.inference.harness import Served, serving

TAGGED = re.compile(r"^(KAITO_BENCHMARK\w*) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*Z) (\{.*\})$")
CONTEXT_TOKENS = 4096


def tagged(text: str) -> list[tuple[str, dict[str, Any]]]:
    found = [TAGGED.match(line) for line in text.splitlines() if line.startswith("KAITO_BENCHMARK")]
    return [(match[1], json.loads(match[3])) for match in found if match]


async def measured(served: Served) -> None:
    served.generator.info = ModelInfo(root="fake", context_tokens=CONTEXT_TOKENS)
    engine = served.app.state.engine
    assert engine is not None
    await run_benchmark(served.app.state, engine, monotonic)


async def test_the_tagged_lines_and_the_path_say_the_same(capsys: pytest.CaptureFixture[str]):
    async with serving(benchmark=True, benchmark_duration_s=0.3) as served:
        await measured(served)
        (first, config), (second, again), (third, result) = tagged(capsys.readouterr().out)
        assert (first, second, third) == ("KAITO_BENCHMARK_CONFIG", "KAITO_BENCHMARK_CONFIG", "KAITO_BENCHMARK_RESULT")
        sizes = {"duration_sec": 0.3, "input_tokens": 2048, "output_tokens": 256, "max_concurrency": 4}
        assert config == again == sizes
        assert set(result) == {"vllm_total_tpm", "ttft_avg_ms", "tpot_avg_ms"} and min(result.values()) > 0
        status, _, told = await served.ask("GET", "/kaito/benchmark")
        assert status == 200 and told.items() >= (config | result).items()
        _, _, metrics = await served.ask("GET", "/metrics")
        (tokens,) = re.findall(r"^vllm:generation_tokens_total\{.*\} (\S+)$", metrics, re.M)
        (prompt,) = re.findall(r"^vllm:prompt_tokens_total\{.*\} (\S+)$", metrics, re.M)
        rate = (float(tokens) + float(prompt)) * 60 / told["elapsed_s"]
        assert result["vllm_total_tpm"] == pytest.approx(rate, rel=0.05)  # elapsed_s has two decimals


async def test_its_end_cuts_off_what_runs_and_frees_every_slot(capsys: pytest.CaptureFixture[str]):
    async with serving(step_s=0.01, benchmark=True, benchmark_duration_s=0.2) as served:  # an answer takes 2.56 s
        await measured(served)
        (_, result) = tagged(capsys.readouterr().out)[-1]
        assert result["vllm_total_tpm"] > 0
        assert served.generator.count() == (0, 0)
        assert json.loads(served.app.state.benchmark)["elapsed_s"] < 2.56


async def test_an_engine_that_answers_nothing_is_told_as_minus_one(capsys: pytest.CaptureFixture[str]):
    async with serving(benchmark=True, benchmark_duration_s=5) as served:

        async def submit(job: Job) -> None:
            job.sink([(job.index, Failure("out of memory", 500))])

        served.generator.submit = submit  # type: ignore[method-assign]
        await measured(served)
        assert tagged(capsys.readouterr().out)[-1] == (
            "KAITO_BENCHMARK_RESULT",
            {"vllm_total_tpm": -1, "ttft_avg_ms": -1, "tpot_avg_ms": -1},
        )


async def test_the_server_is_not_ready_while_it_is_measured_and_serves_all_the_same():
    async with serving(benchmark=True) as served:
        served.app.state.is_measuring = True
        status, _, told = await served.ask("GET", "/ready")
        assert status == 503 and "benchmark" in told["error"]["message"]
        assert (await served.ask("GET", "/health"))[0] == 200
        assert (await served.ask("POST", "/v1/completions", json={"prompt": "x", "max_tokens": 2}))[0] == 200
