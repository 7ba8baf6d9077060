"""What a stage writes to its job's log: what a person can follow, never the text, and never at the stage's cost."""

import os
import re
from pathlib import Path

import pytest

from services.worker import job_log
from services.worker.job_log import StageLog
from services.worker.messages import CANCELED, Failed, Finished
from shared.events.types import EngineUsed, Issue, Timings
from shared.identity import uuid7
from tests.factories import command

LINE = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z tts (info|warning|error) (.+)$")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> StageLog:
    return StageLog(tmp_path / "job.log", command(uuid7(), "tts", 2), clock)


def finished(**changes: object) -> Finished:
    used = EngineUsed(name="kokoro", version="1.0", device="cuda", digest="d")
    timings = Timings(load_s=2.0, engine_s=10.0, total_s=12.34)
    made = Finished(key="k", outputs=[], engine=used, timings=timings, issues=[], facts={})
    return made.model_copy(update=changes)


def written(directory: Path) -> list[tuple[str, ...]]:
    """Return (level, message) of each line; every line has its form."""
    matches = [LINE.match(line) for line in (directory / "job.log").read_text().splitlines()]
    return [match.groups() for match in matches if match] if all(matches) else pytest.fail("a line of another form")


def test_a_stage_that_finishes(log: StageLog, tmp_path: Path) -> None:
    log.started()
    log.progress(0.25, "line 1 of 4")
    issue = Issue(code="line_too_long", stage="tts", segment=3, detail="the private words of a line")
    log.ended(finished(issues=[issue, issue]))
    assert written(tmp_path) == [
        ("info", "started: run 1, attempt 2"),
        ("info", "25 % line 1 of 4"),
        ("warning", "issue: line_too_long, 2 times"),
        ("info", "done in 12.3 s (loading 2.0 s, work 10.0 s) by kokoro 1.0 on cuda"),
    ]


def test_a_stage_that_was_done_before(log: StageLog, tmp_path: Path) -> None:
    log.ended(finished(reused_from="other"))
    assert written(tmp_path) == [("info", "done in 12.3 s: the same as in job other")]


@pytest.mark.parametrize(
    ("failed", "line"),
    [
        (
            Failed(code="engine_failed", message="no\nvoice\r\n", retryable=True, engine="kokoro"),
            ("error", "failed: engine_failed (kokoro): no voice [may be tried again]"),
        ),
        (
            Failed(code="no_speech", message="silence", retryable=False),
            ("error", "failed: no_speech: silence [another try would not help]"),
        ),
        (
            Failed(code=CANCELED, message="the stage was asked to end", retryable=True),
            ("info", "failed: canceled: the stage was asked to end [may be tried again]"),
        ),
    ],
    ids=lambda value: getattr(value, "code", ""),
)
def test_a_stage_that_fails_writes_one_line(
    log: StageLog, tmp_path: Path, failed: Failed, line: tuple[str, str]
) -> None:
    log.ended(failed)
    assert written(tmp_path) == [line]


def test_progress_of_the_same_words_is_written_now_and_then(log: StageLog, clock: Clock, tmp_path: Path) -> None:
    log.progress(0.0, "loading the voice")
    for number in range(1, 400):
        clock.now = number / 10
        log.progress(number / 400, f"line {number} of 399")
    assert [message for _, message in written(tmp_path)] == [
        "0 % loading the voice", "0 % line 1 of 399", "25 % line 101 of 399", "50 % line 201 of 399",
        "75 % line 301 of 399",
    ]  # fmt: skip


def test_a_full_log_becomes_the_older_one(log: StageLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_log, "LOG_MAX_BYTES", 200)
    for _ in range(20):
        log.started()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["job.log", "job.log.1"]
    assert all(0 < file.stat().st_size <= 200 for file in tmp_path.iterdir())


def test_a_log_that_another_process_is_rotating_is_only_appended_to(
    log: StageLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one may have been stopped in the middle: waiting for it would stop this stage too."""
    import fcntl

    monkeypatch.setattr(job_log, "LOG_MAX_BYTES", 10)
    with (tmp_path / "job.log").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        log.started()
        log.started()
    assert len(written(tmp_path)) == 2


def test_a_log_that_cannot_be_written_costs_nothing(log: StageLog, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("")
    for make in (Path.mkdir, lambda path: path.symlink_to(elsewhere), os.mkfifo):
        make(tmp_path / "job.log")
        log.started()
        log.ended(finished())
        path = tmp_path / "job.log"
        path.rmdir() if path.is_dir() else path.unlink()
    assert elsewhere.read_text() == "", "a link is not followed"
    StageLog(tmp_path / "deleted" / "job.log", command(uuid7())).started()
    assert not (tmp_path / "deleted").exists(), "a job that was deleted does not come back"
