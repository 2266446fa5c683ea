"""How far a trainer has come: read from its log's last lines, which enter the graph as an answer with its time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from kaito.api.core import Pod
from kaito.api.meta import Json
from kaito.plan.actions import Read
from kaito.plan.snapshot import Snapshot, parse_time, pod_ref

PROGRESS_EVERY_S = 20.0
PROGRESS_EVENT = "tuning progressed"  # kaito.logs' name of it; the pure core does not import the logger


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the trainer's. `loss` and `eval_loss` are as it wrote them; `eta_s` is None while it cannot tell."""

    step: int
    steps: int
    epoch: float
    loss: float | None = None
    eval_loss: float | None = None
    eta_s: float | None = None

    @property
    def words(self) -> str:
        parts = [f"step {self.step} of {self.steps}", f"epoch {self.epoch:.2f}"]
        parts += [f"loss {self.loss:.4g}"] if self.loss is not None else []
        parts += [f"evaluation loss {self.eval_loss:.4g}"] if self.eval_loss is not None else []
        parts += [_left(self.eta_s)] if self.eta_s is not None else []
        return ", ".join(parts)

    @property
    def status(self) -> Json:
        """As `status.progress` says it: numbers with fractions as texts, as Kubernetes asks."""
        found = {
            "step": self.step,
            "steps": self.steps,
            "epoch": f"{self.epoch:.2f}",
            "loss": None if self.loss is None else f"{self.loss:.4g}",
            "evalLoss": None if self.eval_loss is None else f"{self.eval_loss:.4g}",
            "etaSeconds": None if self.eta_s is None else round(self.eta_s),
        }
        return {key: value for key, value in found.items() if value is not None}


def progress_of(s: Snapshot) -> Progress | None:
    """The newest line that has been read; None while there is none."""
    for pod in _trainers(s):
        answer = s.view.answer(s.ref, _key(pod))
        if answer and (found := parse_progress(answer.text)):
            return found
    return None


def ask_progress(s: Snapshot) -> Iterator[Read]:
    """A `Read` of each trainer's log: as often as somebody may want to look, and once when it has ended."""
    for pod in _trainers(s):
        answer, ended = s.view.answer(s.ref, _key(pod)), _ended_at(s, pod)
        is_due = answer is None or (_age_left_s(s, pod) <= 0 if ended is None else answer.at <= ended)
        if is_due and (ended is not None or _is_running(s, pod)):
            reason = "how far the trainer has come"
            yield Read(s.ref, _key(pod), "log", pod_ref(pod), s.ref.name, reason, is_previous=False)


def ask_again_s(s: Snapshot) -> float | None:
    """Seconds until the progress is to be read again; None while no trainer runs."""
    waits = [max(_age_left_s(s, pod), 1.0) for pod in _trainers(s) if _is_running(s, pod)]
    return min(waits) if waits else None


def parse_progress(text: str) -> Progress | None:
    """The last line of progress in a log; other lines, and lines that are cut, are passed over."""
    for line in reversed(text.splitlines()):
        if PROGRESS_EVENT not in line:
            continue
        try:
            raw = json.loads(line[line.index("{") :])
            return Progress(
                int(raw["step"]),
                int(raw["steps"]),
                float(raw["epoch"]),
                *(None if raw.get(key) is None else float(raw[key]) for key in ("loss", "eval_loss", "eta_s")),
            )
        except (ValueError, KeyError, TypeError):
            continue
    return None


def _trainers(s: Snapshot) -> Iterator[Pod]:
    if s.work.goal == "end":
        yield from (pod for pod in s.pods if not pod.metadata.deletion_timestamp)


def _is_running(s: Snapshot, pod: Pod) -> bool:
    return any(each.name == s.ref.name and each.state.running for each in pod.status.container_statuses)


def _ended_at(s: Snapshot, pod: Pod) -> datetime | None:
    """When the trainer ended well; None before, and where the next attempt has a log of its own."""
    for each in pod.status.container_statuses:
        if each.name == s.ref.name and each.state.terminated and each.state.terminated.exit_code == 0:
            return parse_time(each.state.terminated.finished_at)
    return None


def _age_left_s(s: Snapshot, pod: Pod) -> float:
    answer = s.view.answer(s.ref, _key(pod))
    if answer is None:
        return 0.0
    return (answer.at + timedelta(seconds=PROGRESS_EVERY_S) - s.now).total_seconds()


def _key(pod: Pod) -> str:
    return f"progress/{pod.metadata.uid}"


def _left(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute left"
    return f"about {minutes} min left" if minutes < 120 else f"about {minutes / 60:.0f} h left"
