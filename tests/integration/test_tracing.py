"""One trace from the HTTP request to the projection, through real processes, a real broker and a real collector.

Only the language pairs are answered for by the test: the first stage needs no model.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shared import tracing
from shared.eventlog.port import EventLog
from shared.events.subjects import job_filter, stage_subject
from shared.events.types import JobStarted, StageCompleted
from tests.broker import free_port
from tests.factories import event
from tests.integration.ingest import videos
from tests.integration.ingest.service import answering_worker, event_log, in_thread, running_ingest
from tests.integration.library.conftest import LibraryProcess, running_library
from tests.otlp_receiver import Collector, ReceivedSpan, collecting

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
BROWSER = "00f067aa0ba902b7"
TITLE = "Segredo.mp4"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Every process that starts from here on sends its spans here."""
    with collecting() as running:
        monkeypatch.setenv(tracing.ENDPOINT, running.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield running


@pytest.fixture
def library(collector: Collector, tmp_path: Path) -> Iterator[LibraryProcess]:
    with running_library(tmp_path) as running:
        yield running


@pytest.fixture
async def worker(library: LibraryProcess) -> AsyncIterator[None]:
    async with answering_worker(library.broker.url):
        yield


def chain(spans: list[ReceivedSpan], leaf: ReceivedSpan) -> list[str]:
    """Return the names from a span up to the root."""
    parents = {span.span_id: span for span in spans}
    names = [leaf.name]
    while leaf.parent_id in parents:
        leaf = parents[leaf.parent_id]
        names.append(leaf.name)
    return names


@contextlib.contextmanager
def running(service: str, library: LibraryProcess, data: Path) -> Iterator[None]:
    """Run a real service on the library's broker; it must end with 0, and has sent its spans then."""
    environment = os.environ | {
        "DUBLINE_DATA_DIR": str(data),
        "DUBLINE_NATS_URL": library.broker.url,
        "DUBLINE_SCHEDULER_PORT": str(free_port()),
        "DRAIN_TIMEOUT_SEC": "0",
        "MIN_FREE_GB": "0.01",
    }
    with (library.data / f"{service}.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", f"services.{service}"], env=environment, stdout=output, stderr=output
        )
    try:
        yield
    finally:
        process.terminate()
        code = process.wait(30)
    assert code == 0


async def wait_for_first_stage(log: EventLog, job_id: str) -> None:
    """Return once a worker has committed the job's first stage."""
    async with asyncio.timeout(90):
        while True:
            last = await log.last(stage_subject(job_id, "audio"))
            if last is not None and isinstance(last.event, StageCompleted):
                return
            await asyncio.sleep(0.1)


@pytest.mark.usefixtures("worker")
async def test_submit_schedule_stage_and_projection_are_one_trace(
    collector: Collector, library: LibraryProcess, tmp_path: Path
) -> None:
    video = videos.short(tmp_path)
    with running_ingest(tmp_path / "ingest", library.broker.url) as ingest, ingest.client() as client:
        answer = await in_thread(
            client.post,
            "/api/jobs",
            files={"file": (TITLE, video.read_bytes())},
            data={"tgt_lang": "pt"},
            headers={"traceparent": f"00-{TRACE}-{BROWSER}-01"},
        )
        assert answer.status_code == 202, answer.text
    job_id = answer.json()["id"]

    async with event_log(library.broker.url) as log:
        data = tmp_path / "ingest"
        with running("scheduler", library, data), running("worker", library, data):
            await wait_for_first_stage(log, job_id)
        events = await log.read(job_filter(job_id))
    await asyncio.to_thread(library.wait_for_position, events[-1].seq)
    await asyncio.to_thread(collector.wait_for, "project", len(events))
    projected = collector.named("project")
    assert sorted(int(span.attributes["dubline.seq"]) for span in projected) == [recorded.seq for recorded in events]

    assert {span.trace_id for span in collector.spans} == {TRACE}
    assert {span.name: span.service for span in collector.spans} == {
        "submit": "dubline-ingest",
        "schedule": "dubline-scheduler",
        "stage": "dubline-worker",
        "project": "dubline-library",
    }
    (submit,) = collector.named("submit")
    assert submit.parent_id == BROWSER
    assert submit.attributes == {"dubline.job_id": job_id, "dubline.state": "QUEUED"}
    chains = {span.attributes["dubline.event"]: chain(collector.spans, span) for span in projected}
    assert chains["dubline.job.submitted.v1"] == ["project", "submit"]
    assert chains["dubline.job.started.v1"] == ["project", "schedule", "submit"]
    assert chains["dubline.stage.completed.v1"] == ["project", "stage", "schedule", "submit"]
    assert not [span for span in collector.spans if "Segredo" in span.text]


def test_a_library_that_starts_anew_does_not_trace_what_happened_long_ago(
    collector: Collector, library: LibraryProcess
) -> None:
    old, new = (f"00-{digit * 32}-{digit * 16}-01" for digit in "ab")
    first = event(JobStarted, "0000").model_copy(update={"traceparent": old})
    library.append(first)
    collector.wait_for("project")
    library.end(signal.SIGTERM)
    shutil.rmtree(library.layout.state)
    library.start()
    library.append(event(JobStarted, "0000").model_copy(update={"traceparent": new}))
    collector.wait_for("project", 2)
    assert [span.trace_id for span in collector.named("project")] == ["a" * 32, "b" * 32]
