"""Rows of uploads: what is there to become a job's source, and nothing of an account but that."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.library.jobstore.dump import Row, dump
from services.library.jobstore.store import JobStore
from services.library.jobstore.verify import verify
from services.library.projection import Projection
from services.library.rebuild import rebuild_into
from shared.eventlog.memory import MemoryEventLog
from shared.events.access import AuditRecorded, UploadCompleted, UploadCreated, UploadRemoved, UserSettingsSaved
from shared.events.types import Event
from shared.identity import uuid7
from tests.factories import NOW, event, submitted
from tests.unit.library.stories import log_of

UPLOAD, OTHER = "up_0123456789abcdef", "up_fedcba9876543210"
DAY = timedelta(days=1)


def created(upload: str = UPLOAD, **changes: Any) -> Any:
    data: dict[str, Any] = {"owner": "u_ann", "title": "film.mkv", "total_bytes": 7, "expires_at": NOW + DAY}
    return event(UploadCreated, upload, **(data | changes))


def finished(upload: str = UPLOAD, later: timedelta = timedelta(0), **changes: Any) -> Any:
    data: dict[str, Any] = {"owner": "u_ann", "title": "film.mkv", "total_bytes": 7, "sha256": "ab" * 32}
    return event(UploadCompleted, upload, **(data | changes)).model_copy(update={"time": NOW + later})


def removed(upload: str = UPLOAD) -> Any:
    return event(UploadRemoved, upload, owner="u_ann", reason="terminated")


def of_accounts() -> list[Event]:
    return [
        event(AuditRecorded, "u_ann", action="login"),
        event(AuditRecorded, "anonymous", action="login", outcome="failed", about="u_ann"),
        event(UserSettingsSaved, "u_ann", mode="high"),
    ]


def uploads(content: list[Row]) -> list[dict[str, Any]]:
    return [json.loads(row[2]) for row in content if row[0] == "uploads"]


def project(path: Path, *batches: list[Event]) -> list[Row]:
    """Project these batches, one after another; return the content of jobs.db."""
    log = log_of([what for batch in batches for what in batch])
    store = JobStore(path)
    projection = Projection(store)
    for batch in batches:
        start = projection.cursor.seq
        projection.apply(log[start : start + len(batch)])
    store.close()
    return dump(path)


def test_an_upload_has_a_row_from_its_creation_on(tmp_path: Path) -> None:
    (row,) = uploads(project(tmp_path / "jobs.db", [created(sealed=True)]))
    assert row == {
        "id": UPLOAD, "owner_id": "u_ann", "filename": "film.mkv", "total_bytes": 7, "completed": False,
        "encrypted": True, "sha256": None, "created_at": "2026-01-02T03:04:05.000Z",
        "updated_at": "2026-01-02T03:04:05.000Z", "expires_at": "2026-01-03T03:04:05.000Z",
    }  # fmt: skip


@pytest.mark.parametrize("together", [True, False])
def test_a_complete_one_has_its_digest_and_is_kept_as_long_again(tmp_path: Path, together: bool) -> None:
    story = [created(), finished(later=timedelta(hours=2))]
    batches = [story] if together else [[what] for what in story]
    (row,) = uploads(project(tmp_path / "jobs.db", *batches))
    assert (row["completed"], row["sha256"], row["encrypted"]) == (True, "ab" * 32, False)
    assert (row["created_at"], row["updated_at"], row["expires_at"]) == (
        "2026-01-02T03:04:05.000Z",
        "2026-01-02T05:04:05.000Z",
        "2026-01-03T05:04:05.000Z",
    )


def test_a_removed_one_and_one_that_became_a_jobs_source_have_no_row(tmp_path: Path) -> None:
    story = [created(), created(OTHER), finished(OTHER), removed(), submitted(owner="u_ann", upload_id=OTHER)]
    assert uploads(project(tmp_path / "jobs.db", [*story])) == []


def test_what_is_told_late_of_a_used_one_brings_no_row_back(tmp_path: Path) -> None:
    """Ingest tells of the end of an upload as soon as the broker is there again, maybe after the submission."""
    story = [created(), submitted(owner="u_ann", upload_id=UPLOAD), finished()]
    assert uploads(project(tmp_path / "jobs.db", *([what] for what in story))) == []


def test_a_job_without_an_upload_of_its_own_changes_none(tmp_path: Path) -> None:
    assert len(uploads(project(tmp_path / "jobs.db", [created(), submitted()]))) == 1


def test_what_happens_to_accounts_moves_the_cursor_alone(tmp_path: Path) -> None:
    content = project(tmp_path / "jobs.db", of_accounts())
    assert [row[:3] for row in content] == [("projector", "jobs", len(of_accounts()))], "no row, and no quarantine"


def test_a_row_that_no_event_made_stops_nobody(tmp_path: Path) -> None:
    """E7: another program may write to this file."""
    path = tmp_path / "jobs.db"
    store = JobStore(path)
    store.uploads[UPLOAD] = {"id": UPLOAD}
    store.uploads[OTHER] = ["?"]
    Projection(store).apply(log_of([finished(), finished(OTHER), created("up_1"), finished("up_1")]))
    store.close()
    assert [row["id"] for row in uploads(dump(path))] == ["up_1"]


async def test_e5_a_rebuild_has_the_same_rows(tmp_path: Path) -> None:
    story = [
        created(), created(OTHER), *of_accounts(), finished(), finished(OTHER), created("up_1"), removed("up_1"),
        submitted(uuid7(), owner="u_ann", upload_id=OTHER),
    ]  # fmt: skip
    kept = project(tmp_path / "jobs.db", story[:4], story[4:6], story[6:])
    log = MemoryEventLog()
    for what in story:
        await log.append(what)
    await rebuild_into(log, tmp_path / "rebuilt.db")
    assert [row["id"] for row in uploads(kept)] == [UPLOAD]
    assert dump(tmp_path / "rebuilt.db") == kept
    assert verify(tmp_path / "jobs.db").ok
