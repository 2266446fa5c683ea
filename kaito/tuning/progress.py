"""TrainerCallback: what a run tells while it goes, and how it is stopped at a step's end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import structlog
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from kaito.clock import Clock, rfc3339
from kaito.logs import Event
from kaito.tuning.folder import OutputFolder
from kaito.tuning.metrics import TuningMetrics
from kaito.tuning.stop import StopSignal

log: structlog.stdlib.BoundLogger = structlog.get_logger("kaito.tuning")
TELL_EVERY_S = 10.0  # a line at least so often, however rarely the trainer logs


class ProgressCallback(TrainerCallback):  # type: ignore[misc]
    """Rank 0 tells; every rank stops after the step in which it was told to."""

    def __init__(
        self,
        folder: OutputFolder,
        metrics: TuningMetrics,
        *,
        stop: StopSignal,
        now: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._metrics = metrics
        self._stop = stop
        self._now = now
        self._monotonic = monotonic
        self._first_step = 0
        self._began_s = self._told_s = monotonic()
        self._last: dict[str, float] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._stop.is_training = True
        self._first_step = state.global_step
        self._began_s = self._told_s = self._monotonic()
        if state.is_world_process_zero:
            self._metrics.set(step=state.global_step, steps_planned=state.max_steps)
            log.info(Event.TUNING_STARTED, step=state.global_step, steps=state.max_steps)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            self._metrics.set(step=state.global_step, epoch=state.epoch, eta_seconds=self._eta_s(state))
            if self._monotonic() - self._told_s >= TELL_EVERY_S:
                self._tell(state, {})
        if self._is_any_stopping(args):
            control.should_save = control.should_training_stop = True

    def _is_any_stopping(self, args: TrainingArguments) -> bool:
        """Whether a process of the group was told to stop: all stop after the same step, or one waits for ever."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return self._stop.is_set
        flag = torch.tensor(int(self._stop.is_set), device=args.device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        self._stop.is_set = bool(flag.item())
        return self._stop.is_set

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if state.is_world_process_zero and logs:
            # An epoch's and the run's summary have keys of their own; a step has a loss.
            kept = ("loss", "eval_loss", "learning_rate", "grad_norm", "mean_token_accuracy")
            values = {key: float(logs[key]) for key in kept if key in logs and math.isfinite(float(logs[key]))}
            if values:
                self._tell(state, values)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            self._metrics.set(checkpoint_step=state.global_step)
            log.info(Event.CHECKPOINT_SAVED, step=state.global_step)

    def _tell(self, state: TrainerState, values: dict[str, float]) -> None:
        self._told_s = self._monotonic()
        self._last |= values
        eta_s = self._eta_s(state)
        line: dict[str, Any] = {
            "step": state.global_step,
            "steps": state.max_steps,
            "epoch": round(float(state.epoch or 0.0), 4),
            **{key: float(f"{value:.6g}") for key, value in values.items()},
            "eta_s": None if eta_s is None else round(eta_s, 1),
        }
        self._metrics.set(
            **values,
            step=state.global_step,
            epoch=state.epoch,
            eta_seconds=eta_s,
            steps_per_second=self._pace(state),
            tokens_total=float(state.num_input_tokens_seen or 0) or None,
            gpu_memory_peak_bytes=float(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None,
        )
        # The log line carries the last loss even between two logged steps: its reader may see no other line.
        log.info(Event.TUNING_PROGRESSED, **{**_rounded(self._last, ("loss", "eval_loss")), **line})
        self._folder.append_progress(line | {"at": rfc3339(self._now())})

    def _pace(self, state: TrainerState) -> float | None:
        """Steps a second since this process began."""
        took_s = self._monotonic() - self._began_s
        done = state.global_step - self._first_step
        return done / took_s if done > 0 and took_s > 0 else None

    def _eta_s(self, state: TrainerState) -> float | None:
        pace = self._pace(state)
        return (state.max_steps - state.global_step) / pace if pace else None


def _rounded(values: dict[str, float], keys: tuple[str, ...]) -> dict[str, float]:
    return {key: float(f"{values[key]:.6g}") for key in keys if key in values}
