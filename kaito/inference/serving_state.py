"""What the routes share: the engine, who may enter, what is in flight, and whether anybody may ask at all."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from kaito.inference.admission import Admission
from kaito.inference.engine import Engine
from kaito.inference.progress import StartProgress
from kaito.inference.settings import ServerSettings
from kaito.web.in_flight import InFlight
from kaito.web.openai.errors import unavailable


class ServingState:
    """An engine that may still be loading."""

    def __init__(self, settings: ServerSettings, progress: StartProgress) -> None:
        self.settings, self.limits = settings, settings.limits
        self.progress = progress
        self.in_flight = InFlight()
        self.benchmark: bytes = b""  # JSON, once there is a result
        self.is_measuring = False
        self.connections: Callable[[], int] = lambda: 0
        self._registry = CollectorRegistry()
        self._refused = Counter("kaito_ratelimit_rejected", "Requests refused with 429", registry=self._registry)
        for name, text, read in (
            ("kaito_requests_in_flight", "Requests being answered", lambda: self.in_flight.count),
            ("kaito_requests_admitted", "Requests that hold a slot", lambda: self._count("running")),
            ("kaito_requests_queued", "Requests that wait for a slot", lambda: self._count("waiting")),
        ):
            Gauge(name, text, registry=self._registry).set_function(read)
        self._engine: Engine | None = None
        self._admission: Admission | None = None

    def open(self, engine: Engine) -> None:
        """The engine is loaded: requests may come."""
        queue_max = engine.slots if self.limits.queue_max < 0 else self.limits.queue_max
        self._admission = Admission(engine.slots, queue_max, on_refused=self._refused.inc)
        self._engine = engine

    def _count(self, name: str) -> int:
        return 0 if self._admission is None else int(getattr(self._admission, name))

    @property
    def engine(self) -> Engine | None:
        return self._engine

    @property
    def admission(self) -> Admission | None:
        return self._admission

    def exposition(self) -> bytes:
        """The server's own metrics: who was admitted, who was refused."""
        return generate_latest(self._registry)

    def serving(self) -> tuple[Engine, Admission]:
        """Raises ApiError (503) while there is nobody to answer."""
        if self.in_flight.is_draining:
            raise unavailable("The server is shutting down.")
        if self._engine is None or self._admission is None:
            raise unavailable(f"The model is not loaded yet: {self.progress.text()}.")
        if fault := self._engine.fault:
            raise unavailable(f"The engine is broken: {fault}")
        return self._engine, self._admission
