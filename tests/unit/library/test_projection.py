"""E5 and E7: jobs.db is fold(log), however the events were delivered, and one bad event blocks nobody."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.library import projection as module
from services.library.jobstore.dump import dump
from services.library.jobstore.store import JobStore
from services.library.projection import Projection, fold
from services.library.projector import Projector, is_of_log, rebuild
from shared.eventlog.memory import MemoryEventLog
from shared.eventlog.port import Recorded
from shared.events.runtime import LimitsChanged, PrewarmRequested, SchedulerTookOver, SlotGranted, SlotGrantedData
from shared.events.types import (
    Event,
    JobCanceled,
    JobDegraded,
    JobFailed,
    JobPaused,
    JobRequeued,
    JobResumed,
    JobStarted,
)
from shared.job.aggregate import evolve
from shared.job.stages import GRAPH
from tests.factories import claimed, completed, context, event, failed, submitted
from tests.unit.library.stories import JOB, log_of, recorded, undecodable, whole_story

OTHER = "01890000-0000-7000-8000-000000000002"


def project(log: list[Recorded], path: Path) -> list[Any]:
    store = JobStore(path)
    Projection(store).apply(log)
    store.close()
    return dump(path)


def deliver(log: list[Recorded], store: JobStore, batch: list[Recorded], projection: Projection) -> None:
    """What the projector does with a batch: fold what is not in memory from the log, then apply."""
    for job_id in projection.unfolded(batch):
        known = [r for r in log if r.event and r.event.subject == job_id and r.seq <= projection.cursor.seq]
        job = fold(known)
        if job is not None:
            projection.adopt(job)
    projection.apply(batch)


def test_rows_index_counts_files_and_cursor_come_from_one_log(tmp_path: Path) -> None:
    content = project(log_of(whole_story(), whole_story(OTHER, title="other.mp4")[:5]), tmp_path / "jobs.db")
    assert [row[1] for row in content if row[0] == "jobs"] == [JOB, OTHER]
    assert [row[1:5] for row in content if row[0] == "job_index"] == [
        (1, JOB, "local", "DONE"),
        (2, OTHER, "local", "RUNNING"),
    ]
    assert [row[1:] for row in content if row[0] == "job_counts"] == [("local", "DONE", 1), ("local", "RUNNING", 1)]
    assert [row[1] for row in content if row[0] == "job_files"] == [
        "film/film.dub.mkv", "film/film.dub.mp4", "film/subs/film.en.vtt", "film/subs/film.pt.srt",
    ]  # fmt: skip
    assert [row[1:3] for row in content if row[0] == "projector"] == [("jobs", 20)]


def of_no_job() -> list[Event]:
    """What the scheduler and the operators write; one of them names a job without being about its state."""
    return [
        event(SchedulerTookOver, "scheduler", holder="s1"),
        SlotGranted(**context(JOB), data=SlotGrantedData(job_id=JOB, run=1, stage="tts", epoch=1)),
        event(LimitsChanged, "runtime", overrides={"MAX_CONCURRENCY_GLOBAL": 3}),
        event(PrewarmRequested, "runtime", task="t", preset="low"),
    ]


def test_events_of_no_job_move_the_cursor_and_change_no_row_and_are_not_quarantined(tmp_path: Path) -> None:
    story = whole_story()
    mixed = [*of_no_job(), *story[:6], *of_no_job(), *story[6:], *of_no_job()]
    content = project(log_of(mixed), tmp_path / "mixed.db")
    assert [row for row in content if row[0] == "quarantine"] == []
    assert [row[1:3] for row in content if row[0] == "projector"] == [("jobs", len(mixed))]
    (job,) = [row for row in content if row[0] == "jobs"]
    assert '"state":"DONE"' in job[2]


def test_an_event_of_no_job_concerns_no_job(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.db")
    projection = Projection(store)
    story = log_of(whole_story())
    assert [job.id for job in projection.apply(story)] == [JOB]
    others = [recorded(len(story) + place, what) for place, what in enumerate(of_no_job(), start=1)]
    assert projection.apply(others) == []
    store.close()
    reopened = JobStore(tmp_path / "jobs.db")
    assert Projection(reopened).unfolded(others) == [], "nothing is read from the log for them"
    reopened.close()


def test_an_undecodable_event_of_no_job_is_quarantined_too(tmp_path: Path) -> None:
    log = [*log_of(whole_story()[:3]), Recorded.of(4, "dub.evt.runtime.limits", b"?")]
    content = project(log, tmp_path / "jobs.db")
    assert [row[1:3] for row in content if row[0] == "quarantine"] == [(4, "dub.evt.runtime.limits")]


def test_an_undecodable_event_is_quarantined_without_its_content(tmp_path: Path) -> None:
    log = log_of(whole_story())
    poisoned = [*log[:3], undecodable(4), *(recorded(r.seq + 1, r.event) for r in log[3:] if r.event)]
    content = project(poisoned, tmp_path / "jobs.db")
    (kept,) = [row for row in content if row[0] == "quarantine"]
    assert kept[1] == 4
    assert "exploded" not in kept[3]
    (job,) = [row for row in content if row[0] == "jobs"]
    assert '"state":"DONE"' in job[2]


def test_an_event_that_breaks_the_fold_is_quarantined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(whole_story(), whole_story(OTHER))

    def break_on_third(job: Any, seq: int, what: Any) -> Any:
        if seq == 3:
            raise RuntimeError("a defect")
        return evolve(job, seq, what)

    monkeypatch.setattr(module, "evolve", break_on_third)
    content = project(log, tmp_path / "jobs.db")
    assert [row[1:] for row in content if row[0] == "quarantine"] == [(3, log[2].subject, "RuntimeError")]
    assert [row[1:] for row in content if row[0] == "job_counts" and row[2] == "DONE"] == [("local", "DONE", 1)]


def test_a_batch_that_cannot_be_written_leaves_nothing_and_can_come_again(tmp_path: Path) -> None:
    log = log_of(whole_story())
    store = JobStore(tmp_path / "jobs.db")
    projection = Projection(store)
    projection.apply(log[:4])
    before = dump(tmp_path / "jobs.db")
    with sqlite3.connect(tmp_path / "jobs.db") as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON projector BEGIN SELECT raise(ABORT, 'disk full'); END")
    with pytest.raises(sqlite3.IntegrityError):
        projection.apply(log[4:])
    assert dump(tmp_path / "jobs.db") == before
    with sqlite3.connect(tmp_path / "jobs.db") as other:
        other.execute("DROP TRIGGER full")
    other.close()
    projection.apply(log[4:])
    store.close()
    assert dump(tmp_path / "jobs.db") == project(log, tmp_path / "clean.db")


def test_few_folded_jobs_in_memory_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLDED_JOBS", 1)
    log = log_of(whole_story(), whole_story(OTHER))
    store = JobStore(tmp_path / "jobs.db")
    projection = Projection(store)
    for record in log:
        deliver(log, store, [record], projection)
    store.close()
    assert dump(tmp_path / "jobs.db") == project(log, tmp_path / "clean.db")


JOBS = [f"01890000-0000-7000-8000-00000000000{n}" for n in range(3)]


@st.composite
def logs(draw: st.DrawFn) -> list[Recorded]:
    """Any log: sensible stories, nonsense between them, and bytes that are no event."""
    log: list[Recorded] = []
    for _ in range(draw(st.integers(1, 30))):
        job, stage, attempt = draw(st.sampled_from(JOBS)), draw(st.sampled_from(list(GRAPH))), draw(st.integers(1, 2))
        title = draw(st.text(st.characters(codec="utf-8"), max_size=8))
        happened = [
            submitted(job, title=title),
            event(JobStarted, job, run=1),
            event(JobFailed, job, code="c", message="m"),
            event(JobPaused, job),
            event(JobResumed, job),
            event(JobCanceled, job),
            event(JobRequeued, job, run=2),
            event(JobDegraded, job, from_mode="medium", to_mode="low", queue_len=9, reason="backpressure"),
            *of_no_job(),
            claimed(job, stage, attempt),
            completed(job, stage, attempt),
            failed(job, stage, attempt),
            None,
        ]
        seq, what = len(log) + 1, draw(st.sampled_from(happened))
        log.append(undecodable(seq, job) if what is None else recorded(seq, what))
    return log


@settings(max_examples=60, deadline=None)
@given(log=logs(), data=st.data())
def test_e5_duplicates_and_restarts_change_nothing(
    log: list[Recorded], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("e5")
    store = JobStore(directory / "jobs.db")
    projection = Projection(store)
    position = 0
    while position < len(log):
        start = data.draw(st.integers(0, position), label="redelivered from")
        end = data.draw(st.integers(position + 1, len(log)), label="delivered to")
        deliver(log, store, log[start:end], projection)
        position = end
        if data.draw(st.booleans(), label="restart"):
            store.close()
            store = JobStore(directory / "jobs.db")
            projection = Projection(store)
    store.close()
    assert dump(directory / "jobs.db") == project(log, directory / "clean.db")


async def filled_log() -> MemoryEventLog:
    log = MemoryEventLog()
    for what in whole_story():
        await log.append(what)
    return log


async def test_a_rebuild_reads_the_whole_log_into_a_new_file(tmp_path: Path) -> None:
    log = await filled_log()
    assert await rebuild(log, tmp_path / "rebuilt.db") == len(log.records)
    assert dump(tmp_path / "rebuilt.db") == project(log.records, tmp_path / "clean.db")
    with pytest.raises(FileExistsError):
        await rebuild(log, tmp_path / "rebuilt.db")


async def test_a_file_of_another_log_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    project(log_of(whole_story(OTHER)), path)
    log = await filled_log()  # as long as the other log: only the events tell them apart
    projector = Projector(log, path, lambda _batch, _jobs: None)
    await projector.open()
    assert projector.position == 0
    assert (tmp_path / "jobs.db.aside").exists()
    await projector.close()


async def test_a_file_of_a_longer_log_is_set_aside(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.db")
    projection = Projection(store)
    projection.apply(log_of(whole_story(), whole_story(OTHER)))
    store.close()
    assert not await is_of_log(await filled_log(), projection.cursor)


async def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_bytes(b"not a database at all" * 100)
    projector = Projector(await filled_log(), tmp_path / "jobs.db", lambda _batch, _jobs: None)
    await projector.open()
    assert projector.position == 0
    await projector.close()
