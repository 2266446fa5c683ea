"""How far the start is: for the log, for /metrics, and for who asks too early."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from kaito.inference.engine import Progress
from kaito.logs import Event

LOG_PERIOD_S = 10.0
MIB = 1 << 20


class StartProgress:
    """Takes reports from any thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun = self._stage_begun = clock()
        self._logged = float("-inf")
        self._last = Progress("starting")
        self.registry = CollectorRegistry()
        self._speed = Gauge(
            "kaito_model_download_speed_bytes_per_second", "Download rate of the weights", registry=self.registry
        )
        self._remaining = Gauge(
            "kaito_model_download_remaining_seconds", "Until the download ends; -1: not known", registry=self.registry
        )
        self._stages = Gauge(
            "kaito_start_stage_seconds", "Duration of each stage of the start", ["stage"], registry=self.registry
        )

    def report(self, progress: Progress) -> None:
        now = self._clock()
        if progress.stage != self._last.stage:
            self._end_stage(now)
        self._last = progress
        self._speed.set(progress.bytes_per_s)
        self._remaining.set(progress.remaining_s if progress.stage == "downloading" else 0)
        if now - self._logged >= LOG_PERIOD_S:
            self._logged = now
            structlog.get_logger().info(Event.START_PROGRESSED, progress=self.text())

    def ready(self) -> float:
        """The start is over; how many seconds it took."""
        now = self._clock()
        self._end_stage(now)
        self._last = Progress("ready")
        self._remaining.set(0)
        return now - self._begun

    def text(self) -> str:
        last = self._last
        if not last.bytes_done:
            return last.stage
        total = f" of {last.bytes_total / MIB:,.0f}" if last.bytes_total else ""
        remaining = f", {last.remaining_s:,.0f} s left" if last.remaining_s >= 0 else ""
        return (
            f"{last.stage}: {last.bytes_done / MIB:,.0f}{total} MiB at {last.bytes_per_s / MIB:,.1f} MiB/s{remaining}"
        )

    def exposition(self) -> bytes:
        return generate_latest(self.registry)

    def _end_stage(self, now: float) -> None:
        self._stages.labels(self._last.stage).set(now - self._stage_begun)
        self._stage_begun = now
        self._logged = float("-inf")  # a new stage is told at once
