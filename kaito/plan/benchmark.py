"""What the model server measured of itself after loading: read from its log once, kept in `status.performance`.

The server prints tagged lines (`KAITO_BENCHMARK_CONFIG`, `KAITO_BENCHMARK_RESULT`). A result stands for the image that
it was measured with; another image is another question. A server that measured nothing serves all the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from kaito.api.core import Pod
from kaito.api.meta import Json
from kaito.plan.actions import Read
from kaito.plan.conditions import WantedCondition
from kaito.plan.sizing import Sizing
from kaito.plan.snapshot import Snapshot, is_pod_ready, pod_ref
from kaito.plan.verdict import Verdict, is_open
from kaito.state.view import Answer

CONDITION = "BenchmarkCompleted"
METRIC = "peakTokensPerMinute"
LOG_LINES = 500
ATTEMPTS_MAX = 3
RETRY_S = 30.0
LINE = r"{tag}\s+\S+\s+(\{{.*\}})"
CONFIG = {
    "duration_sec": "durationSec",
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "max_concurrency": "maxConcurrency",
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """`performance` and `condition` are None while nothing is known; `read` asks for the log."""

    performance: Json | None = None
    condition: WantedCondition | None = None
    read: Read | None = None
    recheck_s: float | None = None


def measurement(s: Snapshot, sizing: Sizing, verdicts: Sequence[Verdict], *, is_wanted: bool) -> Measurement:
    """What is known of the server's own measurement, or how to come to know it."""
    prior = s.prior.get("performance")
    if not is_wanted:
        return Measurement(prior)
    leader = next((pod for pod in s.pods if is_pod_ready(pod)), None)
    if _image_of(prior) and (leader is None or _image_of(prior) == _image(s, leader)):
        return Measurement(prior, WantedCondition(CONDITION, True, "BenchmarkCompleted", _words(prior)))
    if leader is None or not all(is_open(verdict) for verdict in verdicts):
        return Measurement(prior)
    return _from_log(s, sizing, leader)


def _from_log(s: Snapshot, sizing: Sizing, leader: Pod) -> Measurement:
    answer, attempt = None, 0
    for attempt in range(ATTEMPTS_MAX):
        answer = s.view.answer(s.ref, _key(leader, attempt))
        if answer is None or not answer.error:
            break
    if answer is None:
        wait_s = _wait_s(s, leader, attempt)
        if wait_s > 0:
            return Measurement(recheck_s=wait_s)
        why = "the server is ready: what it measured is in its log"
        name = s.ref.name
        read = Read(s.ref, _key(leader, attempt), "log", pod_ref(leader), name, why, LOG_LINES, is_previous=False)
        return Measurement(read=read)
    found = parse_benchmark(answer.text)
    if found is None:
        words = answer.error or f"the log of {leader.metadata.name} holds no result"
        return Measurement(None, WantedCondition(CONDITION, False, "BenchmarkFailed", words))
    performance = _performance(found, sizing, _image(s, leader))
    return Measurement(performance, WantedCondition(CONDITION, True, "BenchmarkCompleted", _words(performance)))


def _wait_s(s: Snapshot, leader: Pod, attempt: int) -> float:
    """Seconds until the log is asked for again after it could not be read."""
    last: Answer | None = s.view.answer(s.ref, _key(leader, attempt - 1)) if attempt else None
    return s.left_s(last.at, RETRY_S) if last else 0.0


def parse_benchmark(log: str) -> tuple[float, Json] | None:
    """Tokens a minute and the configuration of the last benchmark that the log tells of; None for none, or a failed."""
    result, config = _last(log, "KAITO_BENCHMARK_RESULT"), _last(log, "KAITO_BENCHMARK_CONFIG")
    rate = result.get("vllm_total_tpm") if result else None
    if isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0:
        return None
    return float(rate), {name: str(config[key]) for key, name in CONFIG.items() if config and key in config}


def _last(log: str, tag: str) -> Json | None:
    found = re.findall(LINE.format(tag=tag), log)
    try:
        value = json.loads(found[-1]) if found else None
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _performance(found: tuple[float, Json], sizing: Sizing, image: str) -> Json:
    rate, config = found
    quantization = sizing.preset.quant_method if sizing.preset else ""
    config |= {"image": image} | ({"quantization": quantization} if quantization else {})
    metric = {
        "description": "stress/high-concurrency",
        "value": f"{rate:g}" if rate < 1e6 else f"{rate:.0f}",
        "unit": "tokens/min",
        "config": config,
    }
    return {"metrics": {METRIC: metric}}


def _words(performance: Json | None) -> str:
    metric: Json = ((performance or {}).get("metrics") or {}).get(METRIC) or {}
    return f"{metric.get('value')} {metric.get('unit')}"


def _image_of(performance: Json | None) -> str:
    metric: Json = ((performance or {}).get("metrics") or {}).get(METRIC) or {}
    return str((metric.get("config") or {}).get("image", ""))


def _image(s: Snapshot, leader: Pod) -> str:
    """The image that the leader runs, as its kubelet names it."""
    return next((status.image for status in leader.status.container_statuses if status.name == s.ref.name), "")


def _key(leader: Pod, attempt: int) -> str:
    restarts = max((status.restart_count for status in leader.status.container_statuses), default=0)
    return f"benchmark/{leader.metadata.uid}/{restarts}/{attempt}"
