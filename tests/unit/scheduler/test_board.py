"""E5 for the scheduler: a snapshot plus the rest of the log gives the board that the whole log gives."""

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler.board import REMEMBERED, Board
from services.scheduler.limits import Limits
from services.scheduler.snapshot import Snapshot, dump, load, read, save
from shared.artifacts import Artifact
from shared.eventlog.job_history import fold
from shared.eventlog.port import Recorded
from shared.events.library import JobDeleted, JobTagged
from shared.events.names import Stage
from shared.events.policy import JobDegraded, JobDelayed, JobReprioritized
from shared.events.runtime import LimitsChanged, LimitsChangedData, PrewarmRequested, PrewarmRequestedData
from shared.events.types import (
    JobCanceled,
    JobCompleted,
    JobFailed,
    JobPaused,
    JobPauseRequested,
    JobRequeued,
    JobResumed,
    StageReleased,
)
from shared.job.stages import GRAPH
from shared.keeping import PRIVATE
from shared.runtime_state import CAP_NAMES
from tests.factories import claimed, completed, context, event, failed
from tests.unit.scheduler.boards import Log, at

LIMITS = Limits(backpressure_q_max=2, user_queued=3, user_running=0)


def happenings(job: str) -> dict[str, Any]:
    return {
        "claim": lambda: claimed(job, "audio"),
        "complete": lambda: completed(job, "audio"),
        "transcribe": lambda: claimed(job, "transcribe"),
        "fail": lambda: failed(job, "transcribe"),
        "hand back": lambda: event(StageReleased, job, stage="audio", attempt=1, reason="x"),
        "cancel": lambda: event(JobCanceled, job, reason="x"),
        "pause": lambda: event(JobPaused, job, reason="x"),
        "ask": lambda: event(JobPauseRequested, job, reason="x"),
        "resume": lambda: event(JobResumed, job, reason="x"),
        "requeue": lambda: event(JobRequeued, job, run=2, reason="x"),
        "degrade": lambda: event(
            JobDegraded, job, from_mode="high", to_mode="low", queue_len=9, reason="busy"
        ),
        "delay": lambda: event(JobDelayed, job, until=at(9), queue_len=9, reason="busy"),
        "priority": lambda: event(JobReprioritized, job, priority=7, reason="x"),
        "done": lambda: event(JobCompleted, job, run=1),
        "tag": lambda: event(JobTagged, job, tags=["x"]),
        "delete": lambda: event(JobDeleted, job, owner="u0", base_dir="film", source="", stored_bytes=5),
        "dead": lambda: event(JobFailed, job, stage="tts", code="dead_letter", message="x"),
    }  # fmt: skip


steps = st.lists(
    st.tuples(
        st.sampled_from(["submit", "start", "grant", "limits", "take over", "prewarm", *happenings("")]),
        st.integers(0, 4),
    ),
    max_size=60,
)


def play(log: Log, moves: list[tuple[str, int]]) -> None:
    for move, number in moves:
        job = f"j{number}"
        match move:
            case "submit":
                log.submit(job, owner=f"u{number % 2}", mode="high")
            case "start":
                log.start(job)
            case "grant":
                log.grant(job, "transcribe")
            case "limits":
                data = LimitsChangedData(overrides={"MAX_CONCURRENCY_GLOBAL": number or None})
                log.add(LimitsChanged(**context("runtime"), data=data))
            case "take over":
                log.take_over(f"s{number}")
            case "prewarm":
                data_ = PrewarmRequestedData(task=f"t{number}", preset="low")
                log.add(PrewarmRequested(**context("runtime"), data=data_))
            case _:
                log.add(happenings(job)[move]())


def state(board: Board) -> str:
    return dump(board, "log").model_dump_json()


@settings(max_examples=150)
@given(steps, st.integers(0, 60), st.integers(0, 20))
def test_e5_a_snapshot_and_the_tail_and_duplicates_give_the_board_of_the_whole_log(
    moves: list[tuple[str, int]], cut: int, ticks: int
) -> None:
    whole = Log(LIMITS)
    play(whole, moves)
    part = Board(LIMITS)
    for seq, subject, item in whole.events[:cut]:
        part.apply(seq, subject, item)
        part.queue.tick(at(ticks))  # time moves what is held back, and nothing that the log decides
    part = load(Snapshot.model_validate_json(state(part)), LIMITS)
    for seq, subject, item in whole.events[max(0, cut - 5) :]:
        part.apply(seq, subject, item)
    assert state(part) == state(whole.board)
    whole.board.queue.tick(at(99))
    part.queue.tick(at(99))
    assert part.queue.order(at(99), 50) == whole.board.queue.order(at(99), 50)


@settings(max_examples=100)
@given(steps)
def test_the_indexes_of_a_board_say_what_its_jobs_say(moves: list[tuple[str, int]]) -> None:
    log = Log(LIMITS)
    play(log, moves)
    board = log.board
    jobs = board.jobs.values()
    assert set(board.paused) == {job.id for job in jobs if job.state == "PAUSED"}
    assert len(board.queue) == sum(job.state == "QUEUED" for job in jobs)
    holding = {job.id for job in jobs if job.state == "RUNNING" or job.claimed_stages}
    assert set(board.active) == holding | {job_id for job_id, stage in board.grants.open if stage is None}
    for owner in ("u0", "u1"):
        assert board.queue.running(owner) == sum(board.jobs[job].submitted.owner == owner for job in board.active)
        queued = sum(job.state == "QUEUED" and job.submitted.owner == owner for job in jobs)
        assert board.waiting_of.get(owner, 0) == queued


def test_nothing_of_finished_jobs_grows_with_them() -> None:
    log = Log()
    for number in range(REMEMBERED + 50):
        job = log.running(f"j{number}")
        log.add(event(JobFailed, job, stage="tts", code="dead_letter", message="x"))
    assert log.board.jobs == {}
    assert log.board.heads == {}
    assert len(log.board.dead_letters) == REMEMBERED
    assert len(log.board.queue.virtual) == 0


def test_a_snapshot_of_another_log_or_ahead_of_its_log_is_not_used(tmp_path: Path) -> None:
    log = Log()
    log.running("a")
    path = tmp_path / "state" / "scheduler.json"
    assert read(path, "log", 3) is None
    save(path, dump(log.board, "log"))
    found = read(path, "log", log.board.seq)
    assert found is not None
    assert state(load(found, Limits())) == state(log.board)
    assert read(path, "another log", log.board.seq) is None
    assert read(path, "log", log.board.seq - 1) is None
    path.write_bytes(b"{")
    assert read(path, "log", log.board.seq) is None


def test_every_cap_that_an_operator_may_override_is_a_limit_of_the_scheduler() -> None:
    assert set(Limits().named()) == set(CAP_NAMES)
    for name in CAP_NAMES:
        assert Limits().overridden({name: 7}).named()[name] == 7
    assert Limits().overridden({"NOT_ONE": 7}) == Limits()


def test_a_deleted_jobs_space_is_its_owners_again() -> None:
    log = Log(Limits(user_stored_bytes=1500, user_running=0))
    job = log.submit(owner="ann")
    log.add(event(JobCanceled, job), event(JobDeleted, job, owner="ann", base_dir="film", source="", stored_bytes=1000))
    assert log.board.ledger.use("ann", at(0)).stored_bytes == 0


def test_what_is_not_kept_of_an_ended_job_is_its_owners_again() -> None:
    """A job counts its source's 1000 bytes and 3 for each stage's file; the deletion gives back what is left."""
    log = Log(Limits(user_running=0))
    job = log.running(owner="ann", keeping=PRIVATE)

    def used() -> int:
        return log.board.ledger.use("ann", at(0)).stored_bytes

    def finish(stage: Stage) -> None:
        place = f"film/work/{job}" if stage != "mux" else "film"
        made = Artifact(name=stage, path=f"{place}/{stage}.wav", size=3, sha256="cd" * 32)
        log.add(claimed(job, stage), completed(job, stage, outputs=[made]))

    finish("audio")
    log.add(event(JobCanceled, job))
    assert used() == 1000
    canceled = fold(Recorded.of(seq, subject, what.encode()) for seq, subject, what in log.events)
    assert canceled is not None
    log.board.recall(canceled)
    log.add(event(JobRequeued, job, run=2))
    log.start(job, run=2)
    for stage in GRAPH:
        finish(stage)
    assert used() == 1018
    log.add(event(JobCompleted, job, run=2))
    assert used() == 3
    log.add(event(JobDeleted, job, owner="ann", base_dir="film", source="", stored_bytes=3))
    assert used() == 0
