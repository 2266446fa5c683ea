"""OpenTelemetry traces where a collector is configured, nothing where not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol


class Span(Protocol):
    def ended(self, status: int) -> None:
        """The answer's HTTP status."""


class Tracing(Protocol):
    def span(self, name: str, headers: Mapping[str, str], request_id: str) -> AbstractContextManager[Span]:
        """A server span; a child of the caller's where the headers carry a traceparent."""

    def close(self) -> None:
        """Sends what is not sent yet."""


class TracingUnavailable(Exception):
    """Traces are asked for and cannot be made; the text says what to install."""


class _NoTracing:
    def span(self, name: str, headers: Mapping[str, str], request_id: str) -> AbstractContextManager[Span]:
        return nullcontext(self)

    def ended(self, status: int) -> None:
        pass

    def close(self) -> None:
        pass


NO_TRACING: Tracing = _NoTracing()


def open_tracing(endpoint: str, service: str) -> Tracing:
    """Spans go to an OTLP/HTTP collector in batches, from a thread of the SDK's. Raises TracingUnavailable."""
    if not endpoint:
        return NO_TRACING
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingUnavailable(
            f"traces to {endpoint} need OpenTelemetry: pip install 'kaito[tracing]' ({error})"
        ) from error
    url = endpoint if endpoint.rstrip("/").endswith("/v1/traces") else endpoint.rstrip("/") + "/v1/traces"
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    return _OtlpTracing(provider)


class _OtlpTracing:
    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("kaito")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, name: str, headers: Mapping[str, str], request_id: str) -> Iterator[Span]:
        from opentelemetry.trace import SpanKind

        context = self._propagator.extract({key.lower(): value for key, value in headers.items()})
        attributes = {"kaito.request_id": request_id}
        with self._tracer.start_as_current_span(name, context, kind=SpanKind.SERVER, attributes=attributes) as span:
            yield _Ended(span)

    def close(self) -> None:
        self._provider.shutdown()


class _Ended:
    def __init__(self, span: Any) -> None:
        self._span = span

    def ended(self, status: int) -> None:
        self._span.set_attribute("http.response.status_code", status)
