"""What a submission made outside the log stays exactly if the log has its job."""

import os
from pathlib import Path

import pytest

from services.ingest.intents import Intent, record, settle, sweep
from shared.eventlog.memory import MemoryEventLog
from shared.events.library import JobDeleted
from shared.events.types import JobCanceled, JobSubmitted
from shared.identity import uuid7
from shared.layout import Layout
from tests.factories import event, submitted, submitted_data

LATER = 2_000_000_000.0


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "data")


def begun(layout: Layout, job_id: str, name: str) -> Intent:
    """Make what a submission makes before its event."""
    base_dir = layout.claim_base_dir(job_id, "film")
    intent = Intent(upload_id=name, job_id=job_id, base_dir=base_dir, source=f"{name}.mp4", title="film.mp4")
    record(layout, intent)
    layout.upload_file(name, "mp4").write_bytes(b"x")
    return intent


def event_of(intent: Intent) -> JobSubmitted:
    source = submitted_data().source.model_copy(update={"path": f"uploads/{intent.source}"})
    return submitted(intent.job_id, base_dir=intent.base_dir, source=source)


def files(layout: Layout) -> set[str]:
    return {path.relative_to(layout.data).as_posix() for path in layout.data.rglob("*") if path.is_file()}


def test_what_became_a_job_stays_and_gets_its_pointer(layout: Layout) -> None:
    intent = begun(layout, "job-1", "up_1")
    settle(layout, intent, event_of(intent))
    pointer = "output/jobs/job-1"
    assert files(layout) == {
        "input/uploads/up_1.mp4", "output/film/.job",
        f"{pointer}/target.txt", f"{pointer}/job_id.txt", f"{pointer}/video.txt",
    }  # fmt: skip


def test_what_became_nothing_goes(layout: Layout) -> None:
    settle(layout, begun(layout, "job-1", "up_1"), None)
    assert files(layout) == set()
    assert not (layout.output / "film").exists()


def test_what_another_job_claimed_since_stays(layout: Layout) -> None:
    intent = begun(layout, "job-1", "up_1")
    layout.release_base_dir("job-1", intent.base_dir)
    layout.claim_base_dir("job-2", "film")
    settle(layout, intent, None)
    assert layout.owner_of("film") == "job-2"


def test_the_winner_gets_its_directory_again_if_one_that_lost_took_the_claim_back(layout: Layout) -> None:
    intent = begun(layout, "job-1", "up_1")
    layout.release_base_dir("job-1", intent.base_dir)
    settle(layout, intent, event_of(intent))
    assert layout.owner_of("film") == "job-1"


def test_what_somebody_put_into_the_directory_stays(layout: Layout) -> None:
    intent = begun(layout, "job-1", "up_1")
    (layout.output / "film" / "notes.txt").write_text("mine")
    settle(layout, intent, None)
    assert files(layout) == {"output/film/notes.txt"}


@pytest.mark.parametrize("winner", [0, 1, 2])
def test_of_three_that_raced_for_one_job_the_winner_keeps_its_own(layout: Layout, winner: int) -> None:
    """The second and the third claim the same directory: a loser must not remove it from under the winner."""
    intents = [begun(layout, "job-1", f"up_{n}") for n in range(3)]
    assert intents[1].base_dir == intents[2].base_dir != intents[0].base_dir
    event = event_of(intents[winner])
    for intent in [*intents[:winner], *intents[winner + 1 :], intents[winner]]:
        settle(layout, intent, event)
    assert [path.name for path in layout.uploads.iterdir()] == [f"up_{winner}.mp4"]
    assert [path.name for path in layout.output.iterdir() if path.name != "jobs"] == [event.data.base_dir]
    assert (layout.pointer("job-1") / "target.txt").exists()


async def test_e3_a_lost_answer_is_settled_by_the_log(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ingest.intents.SECOND_LOOK_S", 0)
    log = MemoryEventLog()
    stored, lost, young = begun(layout, uuid7(), "up_1"), begun(layout, uuid7(), "up_2"), begun(layout, uuid7(), "up_3")
    await log.append(event_of(stored))
    os.utime(layout.upload_intent(young.upload_id), (LATER, LATER))
    layout.upload_part("up_4").write_bytes(b"x")
    layout.upload_intent("up_5").write_bytes(b"from a newer version")
    await sweep(layout, log, LATER)
    assert {path.name for path in layout.uploads.iterdir()} == {
        "up_1.mp4", "up_3.mp4", "up_3.intent.json", "up_5.intent.json",
    }  # fmt: skip
    assert layout.pointer(stored.job_id).is_dir()
    assert not (layout.output / lost.base_dir).exists()
    assert (layout.output / young.base_dir).is_dir()


async def test_a_job_that_was_deleted_before_its_intent_was_settled_does_not_come_back(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ingest.intents.SECOND_LOOK_S", 0)
    log, job = MemoryEventLog(), uuid7()
    intent = begun(layout, job, "up_1")
    await log.append(event_of(intent))
    await log.append(event(JobCanceled, job))
    await log.append(event(JobDeleted, job, owner="local", base_dir="film", source="uploads/up_1.mp4"))
    await sweep(layout, log, LATER)
    assert files(layout) == set()
