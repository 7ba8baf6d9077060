"""Recording spans with the OpenTelemetry SDK and sending them as OTLP over HTTP.

Lives here: the only use of OpenTelemetry. Does not live here: what services call (`shared.tracing`).
"""

import atexit
from collections.abc import Sequence
from types import TracebackType
from typing import Unpack

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.tracing import Attributes, Name, Span

SEND_TIMEOUT_S = 2.0
"""For a batch with its retries."""

KINDS: dict[Name, SpanKind] = {
    "submit": SpanKind.SERVER,
    "schedule": SpanKind.PRODUCER,
    "stage": SpanKind.CONSUMER,
    "project": SpanKind.CONSUMER,
}

_W3C = TraceContextTextMapPropagator()


def _context_of(traceparent: str | None) -> Context:
    """Return the remote context of a traceparent; an empty one for none and for what is none."""
    return _W3C.extract({"traceparent": traceparent}, Context()) if traceparent else Context()


class _RecordedSpan(Span):
    __slots__ = ("_span",)

    def __init__(self, recorded: OtelSpan, parent: str | None) -> None:
        made = recorded.get_span_context()
        own = f"00-{made.trace_id:032x}-{made.span_id:016x}-{made.trace_flags:02x}"
        super().__init__(own if made.is_valid else parent)  # OTEL_SDK_DISABLED makes spans without an id
        self._span = recorded

    def set(self, **attributes: Unpack[Attributes]) -> None:
        self._span.set_attributes(_named(attributes))

    def link(self, traceparent: str | None) -> None:
        linked = get_current_span(_context_of(traceparent)).get_span_context()
        if linked.is_valid:
            self._span.add_link(linked)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._span.set_status(Status(StatusCode.ERROR))
            self._span.set_attribute("error.type", kind.__name__)
        self._span.end()


def _named(attributes: Attributes) -> dict[str, str | int]:
    return {f"dubline.{name}": value for name, value in attributes.items() if isinstance(value, str | int)}


class _Exporter(OTLPSpanExporter):
    """Gives up at the first batch that fails while closing: a service that was told to stop has seconds for it."""

    closing = False
    failed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.closing and self.failed:
            return SpanExportResult.FAILURE
        result = super().export(spans)
        self.failed = result is SpanExportResult.FAILURE
        return result


class OtlpRecorder:
    """One process's spans, sent in batches by a thread. Unsent ones are sent when the process ends."""

    def __init__(self, service: str) -> None:
        resource = Resource.create({SERVICE_NAME: f"dubline-{service}"})
        self._exporter = _Exporter(timeout=SEND_TIMEOUT_S)
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        atexit.register(self.close)
        self._tracer = self._provider.get_tracer("dubline")

    def start(self, name: Name, traceparent: str | None, attributes: Attributes) -> Span:
        """Return a running span, the child of `traceparent`."""
        context = _context_of(traceparent)
        span = self._tracer.start_span(name, context, KINDS[name], _named(attributes))
        return _RecordedSpan(span, traceparent)

    def close(self) -> None:
        """Send what waits and end the thread."""
        atexit.unregister(self.close)
        self._exporter.failed = False
        self._exporter.closing = True
        self._provider.shutdown()
