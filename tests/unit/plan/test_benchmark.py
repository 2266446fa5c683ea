"""What the server measured of itself becomes status.performance: once, for the image that it was measured with."""

from __future__ import annotations

from typing import Any

import pytest

from kaito.api.meta import Json
from kaito.plan.actions import Read
from kaito.plan.benchmark import parse_benchmark
from kaito.settings import PlanSettings
from kaito.state.view import Answer
from tests.builders import container_status, moment, pod
from tests.unit.plan.test_workspace import STATEFUL_SET_REF, Life

CONFIG = '{"duration_sec": 60, "input_tokens": 512, "output_tokens": 128, "max_concurrency": 64}'
LOG = (
    f"KAITO_BENCHMARK_CONFIG 2026-01-31T12:00:00Z {CONFIG}\n"
    'INFO KAITO_BENCHMARK_RESULT 2026-01-31T12:01:00Z {"vllm_total_tpm": 84211.5, "ttft_avg_ms": 9.1}\n'
)


class Measured(Life):
    """A Workspace that serves; `log` is what its server's log says, None while it cannot be read."""

    def __init__(self, log: str | None = LOG, **ws: Any) -> None:
        super().__init__(PlanSettings(), **ws)
        self.log = log
        self.serve()

    def reads(self, now_s: float) -> list[Read]:
        return [action for action in self.plan(now_s).actions if isinstance(action, Read)]

    def settle(self, now_s: float) -> list[str]:
        """As the reader does it: an answer to each Read."""
        words: list[str] = []
        while more := self.act(now_s):
            words += more
            for key, answer in self.world.answers.items():
                if answer.text.startswith("Traceback"):
                    text = getattr(self, "log", None)
                    error = "" if text is not None else "the kubelet does not answer"
                    self.world.answers[key] = Answer(text or "", moment(now_s), error)
        return words

    def condition(self) -> tuple[str, str] | None:
        return self.conditions().get("BenchmarkCompleted")


def test_the_result_is_in_the_status_with_how_it_was_measured() -> None:
    life = Measured()
    assert life.status["performance"] == {
        "metrics": {
            "peakTokensPerMinute": {
                "description": "stress/high-concurrency",
                "value": "84211.5",
                "unit": "tokens/min",
                "config": {
                    "durationSec": "60",
                    "inputTokens": "512",
                    "outputTokens": "128",
                    "maxConcurrency": "64",
                    "image": "image",
                },
            }
        }
    }
    assert life.condition() == ("True", "BenchmarkCompleted")
    assert life.plan(50).actions == ()


def test_it_is_read_once_even_by_a_new_operator_or_after_a_restart_of_the_pod() -> None:
    life = Measured()
    life.world.answers.clear()
    assert life.plan(50).actions == ()
    life.world.put(pod("phi-0", node="n0", ready=True, uid="another"))
    assert life.reads(60) == []


def test_another_image_is_another_question() -> None:
    life = Measured()
    status = container_status(running=True, ready=True) | {"image": "registry/kaito:9.9"}
    life.world.put(pod("phi-0", node="n0", ready=True, uid="another", statuses=[status]))
    (read,) = life.reads(60)
    assert (read.container, read.tail_lines, read.is_previous) == ("phi", 500, False)


def test_a_server_that_measured_nothing_serves_all_the_same() -> None:
    life = Measured("INFO ready\n")
    assert (life.condition(), life.status["state"]) == (("False", "BenchmarkFailed"), "Ready")
    assert "performance" not in life.status and life.plan(999).actions == ()


def test_a_log_that_cannot_be_read_is_asked_for_three_times() -> None:
    life = Measured(None)
    assert (life.condition(), life.plan(0).recheck_s) == (None, 30)
    life.settle(30)
    assert life.condition() is None
    life.settle(60)
    assert life.condition() == ("False", "BenchmarkFailed") and life.plan(999).actions == ()


@pytest.mark.parametrize("how", [{"kaito.sh/disable-benchmark": "true"}, {"kaito.sh/runtime": "transformers"}])
def test_who_does_not_want_it_is_not_measured(how: Json) -> None:
    life = Measured(annotations=how)
    (server,) = life.world.bodies[STATEFUL_SET_REF]["spec"]["template"]["spec"]["containers"]
    assert "--kaito-benchmark" not in server["command"]
    assert (life.condition(), life.reads(0)) == (None, [])


@pytest.mark.parametrize(
    "log",
    [
        "",
        "KAITO_BENCHMARK_RESULT 2026 {broken",
        'KAITO_BENCHMARK_RESULT 2026 {"vllm_total_tpm": -1}',
        'KAITO_BENCHMARK_RESULT 2026 {"vllm_total_tpm": true}',
        LOG + 'KAITO_BENCHMARK_RESULT 2026 {"vllm_total_tpm": -1}',
    ],
)
def test_only_the_last_and_only_a_good_result_counts(log: str) -> None:
    assert parse_benchmark(log) is None
