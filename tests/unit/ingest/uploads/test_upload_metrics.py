"""What Prometheus hears of uploads: each thing once, whatever a client repeats."""

import hashlib
from pathlib import Path

import pytest

from services.ingest.uploads.chunks import append_chunk, complete
from services.ingest.uploads.claims import claimed
from services.ingest.uploads.metrics import UploadMetrics
from services.ingest.uploads.uploads import Uploads
from shared.eventlog.port import LogUnavailableError
from shared.layout import Layout
from shared.metrics import Registry
from shared.problems import Problem
from tests.unit.ingest.uploads.made import ALICE, CHUNK, Clock, begun, body, uploads_at


def found(registry: Registry) -> dict[str, float]:
    """Return every sample of uploads that is not zero, by its name and label."""
    return {
        " ".join((sample.name.removeprefix("dub_ingest_upload"), *sample.labels.values())): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.value
    }


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def uploads(tmp_path: Path, registry: Registry) -> Uploads:
    return uploads_at(tmp_path, clock=Clock(), registry=registry, max_open_uploads=3)


async def test_bytes_count_once_however_they_come(uploads: Uploads, registry: Registry):
    upload = await begun(uploads, 2 * CHUNK, in_chunks=True)
    first, second = b"a" * CHUNK, b"b" * CHUNK
    for index, piece in ((0, first), (0, first), (1, second)):
        sha256 = hashlib.sha256(piece).hexdigest()
        await append_chunk(uploads, upload, index, index * CHUNK, CHUNK, sha256, body(piece))
    await complete(uploads, upload, None)
    await complete(uploads, upload, None)
    by_tus = await begun(uploads, 10)
    await uploads.append(by_tus, 0, None, body(b"12345"), None)
    with pytest.raises(Problem):
        await uploads.append(by_tus, 0, None, body(b"12345"), None)
    assert found(registry) == {
        "_bytes_total": 2 * CHUNK + 5,
        "s_completed_total": 1,
        "s_open": 2,
        "s_open_bytes": 2 * CHUNK + 10,
    }


async def test_what_ends_is_open_no_more_and_counted_by_how(tmp_path: Path, uploads: Uploads, registry: Registry):
    removed, used, expired = await begun(uploads, 10), await begun(uploads, 5), await begun(uploads, 7)
    await uploads.remove(removed, "terminated", "u_alice")
    await uploads.append(used, 0, None, body(b"12345"), None)
    async with claimed(uploads, Layout(tmp_path), used, ALICE) as source:
        source.promote("mov,mp4")
    assert (found(registry)["s_open"], found(registry)["s_open_bytes"]) == (1, 7)
    uploads.store.clock.now += 25 * 3600  # type: ignore[attr-defined]
    await uploads.sweep()
    assert expired.record.state == "removed"
    assert found(registry) == {
        "_bytes_total": 5,
        "s_completed_total": 1,
        "s_ended_total terminated": 1,
        "s_ended_total used": 1,
        "s_ended_total expired": 1,
    }


def test_an_upload_that_is_not_begun_is_counted_by_why(registry: Registry):
    metrics = UploadMetrics(registry, lambda: (0, 0))
    with metrics.beginning():
        pass
    for why in (
        Problem(429, "quota_exceeded", "", quota="open_uploads"),
        Problem(429, "quota_exceeded", "", quota="max_storage_bytes_per_user"),
        Problem(429, "too_many_requests", ""),
        Problem(413, "upload_too_large", ""),
        LogUnavailableError(),
    ):
        with pytest.raises(type(why)), metrics.beginning():
            raise why
    reasons = ("open_uploads", "max_storage_bytes_per_user", "too_many_requests", "upload_too_large")
    assert found(registry) == {"s_begun_total": 1} | {
        f"s_refused_total {reason}": 1 for reason in (*reasons, "log_unavailable")
    }


async def test_uploads_from_before_a_restart_are_open(tmp_path: Path, uploads: Uploads):
    await begun(uploads, 100)
    again = Registry()
    uploads_at(tmp_path, registry=again)
    assert found(again) == {"s_open": 1, "s_open_bytes": 100}
