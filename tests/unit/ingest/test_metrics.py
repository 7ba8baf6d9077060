"""Ingest's metrics: how a submission's ending is counted."""

import asyncio
from pathlib import Path

import pytest
from starlette.requests import ClientDisconnect

from services.ingest.metrics import IngestMetrics
from shared.eventlog.port import LogUnavailableError
from shared.layout import Layout
from shared.problems import Problem


@pytest.fixture
def metrics(tmp_path: Path) -> IngestMetrics:
    return IngestMetrics(Layout(tmp_path), lambda: True)


def value(metrics: IngestMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_an_accepted_video_is_counted_with_its_bytes_and_its_time(metrics: IngestMetrics) -> None:
    with metrics.submission(1000):
        pass
    assert value(metrics, "dub_ingest_submissions_total", result="accepted") == 1
    assert value(metrics, "dub_ingest_accepted_bytes_total") == 1000
    assert value(metrics, "dub_ingest_submit_seconds_count") == 1


def test_a_repeated_submission_makes_no_job_and_counts_no_bytes(metrics: IngestMetrics) -> None:
    with metrics.submission(1000) as ending:
        ending.result = "repeated"
    assert value(metrics, "dub_ingest_submissions_total", result="repeated") == 1
    assert value(metrics, "dub_ingest_accepted_bytes_total") == 0


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (Problem(422, "not_a_video", "no"), "refused"),
        (LogUnavailableError(), "unavailable"),
        (ClientDisconnect(), "left"),
        (OSError(), "failed"),
        (asyncio.CancelledError(), "failed"),
    ],
)
def test_every_other_ending_is_counted_and_goes_on(metrics: IngestMetrics, error: BaseException, result: str) -> None:
    with pytest.raises(type(error)), metrics.submission(1000):
        raise error
    assert value(metrics, "dub_ingest_submissions_total", result=result) == 1
    assert value(metrics, "dub_ingest_submit_seconds_count") == 0


def test_the_room_for_uploads_and_the_broker_are_asked_at_each_scrape(metrics: IngestMetrics, tmp_path: Path) -> None:
    assert value(metrics, "dub_ingest_broker_connected") == 1
    free = value(metrics, "dub_ingest_disk_free_bytes")
    assert free is not None
    assert free > 0
    assert (
        IngestMetrics(Layout(tmp_path / "gone"), lambda: False).registry.get_sample_value("dub_ingest_disk_free_bytes")
        == 0
    )
