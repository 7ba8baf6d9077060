"""Spans of a job's way through the services, joined by the `traceparent` of its events and commands.

Lives here: what services call, and that it costs nothing while tracing is off. Does not live here: OpenTelemetry
(`shared.otlp`, loaded only when OTEL_EXPORTER_OTLP_ENDPOINT is set).
A span's parent is always given, never the surrounding one: a service works on many jobs at once. Off or on, a span has
the traceparent to put into events and commands; while tracing is off it is the parent's, so that a trace that began
elsewhere is handed on. Attributes are ids, stages and states; no title and no text ever (E8), hence the closed type.
"""

import os
from types import TracebackType
from typing import Literal, Protocol, Self, TypedDict, Unpack

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""Base URL of a collector that takes OTLP over HTTP; the paths below it and every other `OTEL_*` are the SDK's."""

Name = Literal["submit", "schedule", "stage", "project"]


class Attributes(TypedDict, total=False):
    """All that a span may say."""

    job_id: str
    run: int
    stage: str
    part: int
    attempt: int
    deliveries: int
    state: str
    event: str
    seq: int


class Span:
    """A span that is not recorded: it only hands its parent's traceparent on."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def set(self, **attributes: Unpack[Attributes]) -> None:
        """Add what is known only now."""

    def link(self, traceparent: str | None) -> None:
        """Point at a span that is no parent: the one that held the same stage before."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the span; an exception marks it as failed, by its type only."""


class Recorder(Protocol):
    """Where spans go while tracing is on."""

    def start(self, name: Name, traceparent: str | None, attributes: Attributes) -> Span: ...

    def close(self) -> None: ...


class _Switch:
    recorder: Recorder | None = None


_switch = _Switch()


def configure(service: str) -> None:
    """Turn tracing on for this process if the environment names a collector."""
    if os.environ.get(ENDPOINT) and _switch.recorder is None:
        from shared.otlp import OtlpRecorder  # noqa: PLC0415 -- costs 100 ms and 10 MB, for those who trace

        _switch.recorder = OtlpRecorder(service)


def shutdown() -> None:
    """Send what waits and turn tracing off; a collector that is away holds this up by some 2 s at most.

    A process that ends by itself does the same.
    """
    recorder, _switch.recorder = _switch.recorder, None
    if recorder is not None:
        recorder.close()


def enabled() -> bool:
    """Return whether spans are recorded: asked before many are made at once."""
    return _switch.recorder is not None


def span(name: Name, traceparent: str | None = None, attributes: Attributes | None = None) -> Span:
    """Return a started span for `with`; `traceparent` is its parent's, None begins a trace."""
    if _switch.recorder is None:
        return Span(traceparent)
    return _switch.recorder.start(name, traceparent, attributes or {})
