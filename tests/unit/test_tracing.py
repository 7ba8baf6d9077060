"""Spans: what they hand on while tracing is off, and what a collector gets while it is on."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from shared import tracing
from tests.broker import free_port
from tests.otlp_receiver import Collector, collecting

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
SECRET = "Meu título secreto"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Tracing is on, as the service `unit`."""
    with collecting() as running:
        monkeypatch.setenv(tracing.ENDPOINT, running.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        tracing.configure("unit")
        yield running
        tracing.shutdown()


def test_without_a_collector_in_the_environment_a_span_only_hands_its_parent_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(tracing.ENDPOINT, raising=False)
    tracing.configure("unit")
    assert not tracing.enabled()
    with tracing.span("stage", TRACEPARENT, {"job_id": "j"}) as span:
        span.set(state="done")
        span.link(TRACEPARENT)
        assert span.traceparent == TRACEPARENT
    with tracing.span("submit") as span:
        assert span.traceparent is None


def test_without_a_collector_no_service_loads_the_sdk() -> None:
    code = (
        "import sys; from shared import tracing; tracing.configure('x')\n"
        "import services.ingest.app, services.library.service, services.scheduler.metrics, services.worker.metrics\n"
        "print(*[name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_span_is_the_child_of_the_traceparent_and_hands_its_own_on(collector: Collector) -> None:
    with tracing.span("schedule", TRACEPARENT, {"job_id": "j", "stage": "tts", "attempt": 2}) as outer:
        with tracing.span("stage", outer.traceparent) as inner:
            inner.set(state="done")
        assert outer.traceparent is not None
    tracing.shutdown()
    (schedule,), (stage,) = collector.named("schedule"), collector.named("stage")
    assert (schedule.service, schedule.trace_id, schedule.parent_id) == ("dubline-unit", TRACE, PARENT)
    assert (stage.trace_id, stage.parent_id) == (TRACE, schedule.span_id)
    assert outer.traceparent == f"00-{TRACE}-{schedule.span_id}-01"
    assert schedule.attributes == {"dubline.job_id": "j", "dubline.stage": "tts", "dubline.attempt": 2}
    assert stage.attributes == {"dubline.state": "done"}


def test_a_span_without_a_parent_begins_a_trace_even_inside_of_another(collector: Collector) -> None:
    with tracing.span("submit"), tracing.span("submit"), tracing.span("submit", "00-not-a-traceparent"):
        pass
    tracing.shutdown()
    spans = collector.named("submit")
    assert len({span.trace_id for span in spans}) == 3
    assert {span.parent_id for span in spans} == {""}


def test_a_redelivered_stage_points_at_the_span_that_held_it_before(collector: Collector) -> None:
    with tracing.span("stage", TRACEPARENT) as span:
        span.link(f"00-{TRACE}-{'ab' * 8}-01")
        span.link(None)
    tracing.shutdown()
    assert [span.links for span in collector.named("stage")] == [["ab" * 8]]


def test_e8_a_failure_is_marked_by_its_type_and_never_by_its_text(collector: Collector) -> None:
    with pytest.raises(ValueError, match=SECRET), tracing.span("stage", TRACEPARENT):
        raise ValueError(SECRET)
    tracing.shutdown()
    (span,) = collector.named("stage")
    assert span.failed
    assert span.attributes == {"error.type": "ValueError"}
    assert "secreto" not in span.text
    assert "test_tracing.py" not in span.text


def test_a_caller_that_does_not_want_to_be_traced_is_not_and_its_ids_go_on(collector: Collector) -> None:
    with tracing.span("submit", f"00-{TRACE}-{PARENT}-00") as span:
        handed_on = span.traceparent
    tracing.shutdown()
    assert collector.spans == []
    assert handed_on is not None
    assert handed_on.startswith(f"00-{TRACE}-")
    assert handed_on.endswith("-00")


def test_a_collector_that_is_away_costs_the_spans_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracing.ENDPOINT, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    tracing.configure("unit")
    with tracing.span("submit", TRACEPARENT) as span:
        assert span.traceparent != TRACEPARENT
    tracing.shutdown()
    assert not tracing.enabled()


def test_spans_that_wait_are_sent_when_the_process_ends_by_itself(collector: Collector) -> None:
    code = "from shared import tracing; tracing.configure('short')\nwith tracing.span('submit'): pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [span.service for span in collector.named("submit")] == ["dubline-short"]


def test_a_collector_that_never_answers_is_asked_once_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        monkeypatch.setenv(tracing.ENDPOINT, f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
        tracing.configure("unit")
        for _ in range(8):
            with tracing.span("submit", TRACEPARENT):
                pass
        tracing.shutdown()
        silent.setblocking(False)  # noqa: FBT003 -- the socket's own signature
        asked = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                silent.accept()[0].close()
                asked += 1
    assert asked <= 3
