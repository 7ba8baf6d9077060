"""The history checker sees every kind of broken promise, and none in a history that keeps them."""

import json
from datetime import timedelta
from typing import Any

import pytest

from shared.eventlog.port import Recorded
from shared.events.policy import JobDegraded
from shared.events.runtime import (
    LimitsChanged,
    LimitsChangedData,
    SchedulerTookOver,
    SchedulerTookOverData,
    SlotGranted,
    SlotGrantedData,
)
from shared.events.subjects import event_subject
from shared.events.types import (
    Event,
    JobCanceled,
    JobCompleted,
    JobPaused,
    JobPauseRequested,
    JobRequeued,
    JobStarted,
    JobSubmitted,
    StageReleased,
)
from shared.job.stages import GRAPH
from tests.factories import NOW, claimed, completed, context, event, failed, submitted
from tests.history import Caps, violations

EPOCH = 1
"""Every history here begins with the scheduler's take-over."""


def took_over() -> Event:
    return SchedulerTookOver(**context("scheduler"), data=SchedulerTookOverData(holder="s1"))


def granted(job: str, stage: Any = None, *, run: int = 1, epoch: int = EPOCH) -> Event:
    data = SlotGrantedData(job_id=job, run=run, stage=stage, epoch=epoch)
    return SlotGranted(**context("scheduler"), data=data)


def limits(later_s: float = 0, **overrides: float | None) -> Event:
    made = LimitsChanged(**context("runtime"), data=LimitsChangedData(overrides=overrides))
    return made.model_copy(update={"time": NOW + timedelta(seconds=later_s)})


def started(job: str, run: int = 1) -> Event:
    return event(JobStarted, job, run=run)


def running(job: str, **changes: Any) -> list[Event]:
    return [submitted(job, **changes), granted(job), started(job)]


def work(job: str, stage: Any, attempt: int = 1, *, fails: bool = False, retryable: bool = True) -> list[Event]:
    """A claim and its outcome, with the grant that a capped stage needs."""
    claim = claimed(job, stage, attempt)
    outcome = failed(job, stage, attempt, retryable=retryable) if fails else completed(job, stage, attempt)
    grant = [granted(job, stage)] if stage in ("transcribe", "tts") else []
    return [*grant, claim, by(claim, outcome)]


def by(claim: Event, outcome: Event) -> Event:
    return outcome.model_copy(update={"actor": "w1", "causationid": claim.id})


def whole(job: str, **changes: Any) -> list[Event]:
    stages = [e for stage in GRAPH for e in work(job, stage)]
    return [*running(job, **changes), *stages, event(JobCompleted, job)]


def check(*events: Event | list[Event], at_rest: bool = False, lag_s: float = 0.0, **caps: float) -> list[str]:
    flat = [took_over(), *(e for part in events for e in (part if isinstance(part, list) else [part]))]
    records = [Recorded(seq, event_subject(e), b"", e) for seq, e in enumerate(flat, 1)]
    return violations(records, Caps(Caps().by_name | caps, lag_s), at_rest=at_rest)


def test_a_job_that_goes_its_way_breaks_nothing() -> None:
    assert check(whole("a"), whole("b"), at_rest=True) == []


def test_take_over_release_retry_pause_and_rerun_break_nothing() -> None:
    lost, heir = claimed("a", "audio", worker="lost"), claimed("a", "audio")
    released = event(StageReleased, "b", stage="audio", attempt=1, reason="drain")
    assert not check(
        running("a"), lost, heir, by(heir, failed("a", "audio")), work("a", "audio", 2),
        event(JobPauseRequested, "a"), event(JobPaused, "a"),
        running("b"), claimed("b", "audio"), released, event(JobCanceled, "b"),
        event(JobRequeued, "b", run=2), granted("b", run=2), started("b", 2), work("b", "audio"),
    )  # fmt: skip


BROKEN: dict[str, tuple[str, list[Event | list[Event]]]] = {
    "one job submitted twice": ("E1", [submitted("a"), submitted("a")]),
    "an unknown job": ("never submitted", [started("a")]),
    "a start without a grant": ("without a grant", [submitted("a"), started("a")]),
    "a grant of an epoch that is over": ("took over", [submitted("a"), took_over(), granted("a")]),
    "a grant that is given twice": ("has one already", [submitted("a"), granted("a"), granted("a")]),
    "a grant that outlives a cancellation": (
        "without a grant",
        [submitted("a"), granted("a"), event(JobCanceled, "a"), event(JobRequeued, "a", run=2), started("a", 2)],
    ),
    "a start after a cancellation": ("while CANCELED", [running("a"), event(JobCanceled, "a"), started("a")]),
    "a completion without all stages": ("completed without", [running("a"), event(JobCompleted, "a")]),
    "a pause inside a stage": (
        "paused inside",
        [running("a"), claimed("a", "audio"), event(JobPauseRequested, "a"), event(JobPaused, "a")],
    ),
    "a pause that nobody asked for": ("nobody asked", [running("a"), event(JobPaused, "a")]),
    "a second cancellation": ("while CANCELED", [submitted("a"), event(JobCanceled, "a"), event(JobCanceled, "a")]),
    "a run that is skipped": ("from run 1 to 3", [whole("a"), event(JobRequeued, "a", run=3)]),
    "a degraded job that opted out": (
        "opted out",
        [
            submitted("a", degrade=False),
            event(JobDegraded, "a", from_mode="medium", to_mode="low", queue_len=9, reason="backpressure"),
        ],
    ),
    "a claim of a waiting job": ("the job is QUEUED", [submitted("a"), claimed("a", "audio")]),
    "a claim against a pause request": (
        "asked to pause",
        [running("a"), event(JobPauseRequested, "a"), claimed("a", "audio")],
    ),
    "a claim of what is done": ("it is done", [running("a"), work("a", "audio"), claimed("a", "audio")]),
    "a claim before the inputs": ("inputs are not done", [running("a"), granted("a", "tts"), claimed("a", "tts")]),
    "a claim of another attempt over a held one": (
        "which is held",
        [running("a"), claimed("a", "audio"), claimed("a", "audio", 2)],
    ),
    "a capped stage without a grant": (
        "without a grant",
        [running("a"), work("a", "audio"), claimed("a", "transcribe")],
    ),
    "a claim after a hopeless failure": (
        "cannot succeed",
        [running("a"), work("a", "audio", fails=True, retryable=False), claimed("a", "audio", 2)],
    ),
    "a fourth attempt": (
        "too many attempts",
        [running("a"), *(work("a", "audio", n, fails=True) for n in (1, 2, 3)), claimed("a", "audio", 4)],
    ),
    "an outcome of nobody": ("nobody has claimed", [running("a"), completed("a", "audio")]),
    "a zombie's outcome": ("not by the claim's worker", [running("a"), claimed("a", "audio"), completed("a", "audio")]),
    "two outcomes of one claim": (
        "nobody has claimed",
        [running("a"), *(work("a", "audio")), completed("a", "audio")],
    ),
    "more running jobs than the cap": ("MAX_CONCURRENCY_GLOBAL", [running(n, owner=n) for n in "abc"]),
    "more grants than the cap": (
        "MAX_CONCURRENCY_GLOBAL",
        [*(running(n, owner=n) for n in "ab"), submitted("c", owner="c"), granted("c")],
    ),
    "a slot that a worker has not let go of yet": (
        "MAX_CONCURRENCY_GLOBAL",
        [running("a"), claimed("a", "audio"), event(JobCanceled, "a"), *(running(n, owner=n) for n in "bc")],
    ),
    "more stages of a phase than its cap": (
        "MAX_CONCURRENCY_TRANSCRIBE",
        [
            running("a"), running("b"), work("a", "audio"), work("b", "audio"),
            granted("a", "transcribe"), claimed("a", "transcribe"), granted("b", "transcribe"),
        ],
    ),
    "more minutes a day than a user has": (
        "minutes today",
        [
            [*running(n, source=submitted("x").data.source.model_copy(update={"duration_s": 9000})),
             event(JobCanceled, n)]
            for n in "ab"
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_found(name: str) -> None:
    words, events = BROKEN[name]
    found = check(*events)
    assert any(words in line for line in found), found


def test_caps_of_a_mode_and_of_a_user() -> None:
    assert any("MAX_JOBS_LOW" in v for v in check(running("a", mode="low"), running("b", mode="low"), MAX_JOBS_LOW=1))
    assert check(running("a", mode="low"), running("b"), MAX_JOBS_LOW=1) == []
    assert any("MAX_CONCURRENT is" in v for v in check(running("a"), running("b"), MAX_CONCURRENT=1))
    assert check(running("a"), running("b", owner="other"), MAX_CONCURRENT=1) == []


def test_a_raised_cap_holds_at_once_and_a_lowered_one_after_the_lag() -> None:
    three = [running(n, owner=n) for n in "abc"]
    assert check(limits(MAX_CONCURRENCY_GLOBAL=3), *three) == []
    assert check(limits(MAX_CONCURRENCY_GLOBAL=3), limits(MAX_CONCURRENCY_GLOBAL=None), *three, lag_s=1) == []
    assert check(limits(-5, MAX_CONCURRENCY_GLOBAL=3), limits(-2, MAX_CONCURRENCY_GLOBAL=None), *three, lag_s=1)


def test_a_log_at_rest_has_no_open_job_and_nothing_claimed() -> None:
    found = check(submitted("a"), running("b"), claimed("b", "audio"), event(JobCanceled, "b"), at_rest=True)
    assert [line.partition(":")[0] for line in found] == ["E6", "job b"]


def test_a_record_that_does_not_decode_is_nobodys_breach() -> None:
    submission: JobSubmitted = submitted("a")
    raw = json.dumps({"type": "dubline.job.exploded.v9"}).encode()
    records = [Recorded.of(1, event_subject(submission), submission.encode()), Recorded.of(2, "dub.evt.job.a.x", raw)]
    assert violations(records, Caps(), at_rest=False) == []


def test_an_event_that_is_stored_twice_is_found() -> None:
    submission = submitted("a")
    assert any("I1" in line for line in check(submission, submission))
