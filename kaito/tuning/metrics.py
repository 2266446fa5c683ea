"""Prometheus gauges of a tuning run, served with /healthz and /readyz from a thread beside the training loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from kaito.tuning.errors import ConfigError
from kaito.web.probes import serve_probes

START_TIMEOUT_S = 10.0


class TuningMetrics:
    """Gauges by the name of what they show; values that are unknown are absent from the page until they are set."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # On the page from its first value on: a gauge without labels would show 0 before that.
        self._gauges = {
            name: Gauge(f"kaito_tuning_{name}", help_, registry=None)
            for name, help_ in (
                ("step", "Optimizer steps done, those of the checkpoint that was taken up included"),
                ("steps_planned", "Optimizer steps that the run has in all"),
                ("epoch", "Passes over the training rows done"),
                ("loss", "Training loss, mean over the last logging interval"),
                ("eval_loss", "Loss on the rows that were held back"),
                ("learning_rate", "Learning rate"),
                ("grad_norm", "Norm of the gradient before clipping"),
                ("eta_seconds", "Seconds until the last step at the pace so far"),
                ("steps_per_second", "Optimizer steps a second of this process"),
                ("tokens_total", "Tokens trained on by this process"),
                ("gpu_memory_peak_bytes", "Most GPU memory that tensors took at once"),
                ("checkpoint_step", "Step of the newest checkpoint"),
            )
        }
        self._shown: set[str] = set()

    def set(self, **values: float | None) -> None:
        for name, value in values.items():
            if value is not None and name in self._gauges:
                self._gauges[name].set(value)
                if name not in self._shown:
                    self._shown.add(name)
                    self.registry.register(self._gauges[name])

    def exposition(self) -> bytes:
        return generate_latest(self.registry)


@contextmanager
def serve_metrics(metrics: TuningMetrics, address: str) -> Iterator[None]:
    """Serves while the block lasts; an empty address serves nothing. Raises ConfigError when it cannot listen."""
    if not address:
        yield
        return
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    started = threading.Event()
    failure: list[Exception] = []

    async def serve() -> None:
        try:
            async with serve_probes(address, missing=tuple, exposition=metrics.exposition):
                started.set()
                await stop.wait()
        except (OSError, ValueError) as error:
            failure.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="metrics", daemon=True)
    thread.start()
    try:
        if not started.wait(START_TIMEOUT_S) or failure:
            raise ConfigError(f"--metrics-address {address}: cannot listen: {failure[0] if failure else 'no answer'}")
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(START_TIMEOUT_S)
        if not thread.is_alive():
            loop.close()
