"""What the scheduler decides, as values in and values out."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.limits import Limits
from services.scheduler.policy import DISK_RETRY_S, Release, StartJob, Transition, World, backoff, plan
from shared.events.names import Pool
from shared.events.policy import JobDegraded, JobDelayed
from shared.events.runtime import LimitsChanged, LimitsChangedData
from shared.events.types import (
    JobCanceled,
    JobPauseRequested,
    JobResumed,
    SourceMedia,
    StageReleased,
)
from shared.job.modes import Hardware
from shared.job.stages import GRAPH
from shared.job.transitions import Complete, Degrade, Delay, Fail, PauseNow, Restore
from tests.factories import claimed, completed, context, event, failed, submitted_data
from tests.unit.scheduler.boards import Log, at


def started(made: Any) -> list[str]:
    return [decision.job_id for decision in made.decisions if isinstance(decision, StartJob)]


def commands(made: Any) -> list[Any]:
    return [decision.command for decision in made.decisions if isinstance(decision, Transition)]


def lasting(seconds: float) -> SourceMedia:
    return submitted_data().source.model_copy(update={"duration_s": seconds})


def test_a_queued_job_starts_when_a_slot_is_free_with_its_effective_settings() -> None:
    log = Log()
    log.submit("a", mode="low")
    (decision,) = log.plan(hardware=Hardware(engines=frozenset({"tts:hibari"}))).decisions
    assert isinstance(decision, StartJob)
    assert decision.grant
    assert decision.settings["fast_voice"].value is True
    assert decision.settings["fast_voice"].reason == "mode:low"


def test_a_grant_that_a_dead_scheduler_left_is_used_and_not_made_again() -> None:
    log = Log(Limits(max_running=1))
    log.submit("a")
    log.submit("b")
    log.grant("a")
    (decision,) = log.plan().decisions
    assert isinstance(decision, StartJob)
    assert (decision.job_id, decision.grant) == ("a", False)


def test_the_global_cap_counts_running_granted_and_cancelled_jobs_whose_worker_has_not_let_go() -> None:
    log = Log()
    first = log.running("a")
    log.add(claimed(first, "audio"))
    log.submit("b")
    log.grant("b")
    log.submit("c")
    assert "c" not in started(log.plan())
    log.add(event(JobCanceled, first, reason="enough"))
    assert "c" not in started(log.plan())
    log.add(event(StageReleased, first, stage="audio", attempt=1, reason="stopped"))
    log.start("b")
    assert started(log.plan()) == ["c"]


def test_a_cancelled_job_frees_its_slot_though_it_never_ran_a_stage() -> None:  # predecessor fault A1
    log = Log(Limits(max_running=1))
    first = log.running("a")
    log.submit("b")
    log.add(event(JobCanceled, first, reason=""))
    assert started(log.plan()) == ["b"]


@pytest.mark.parametrize("mode", ["high", "medium", "low"])
def test_a_mode_at_its_cap_holds_only_its_own_jobs(mode: str) -> None:
    log = Log(Limits(modes={mode: 1}, max_running=3))  # type: ignore[dict-item]
    log.running("a", mode=mode)
    log.submit("b", mode=mode)
    assert started(log.plan()) == []
    log.submit("c", mode="low" if mode != "low" else "high")
    assert started(log.plan()) == ["c"]


def test_a_user_runs_no_more_jobs_than_allowed_and_holds_up_nobody_else() -> None:
    log = Log(Limits(max_running=5, user_running=2))
    for name in "abc":
        log.submit(name, owner="one")
    log.start("a")
    log.start("b")
    assert started(log.plan()) == []
    log.submit("d", after_s=60, owner="two")
    assert started(log.plan(60)) == ["d"]


def test_a_users_minutes_of_the_day_are_never_exceeded_and_come_back_at_midnight_utc() -> None:
    log = Log(Limits(user_daily_minutes=10))
    log.submit("a", source=lasting(400))
    log.start("a")
    log.submit("b", source=lasting(300))
    assert started(log.plan()) == []
    assert started(log.plan(86_400)) == ["b"]


def test_jobs_per_day_and_stored_bytes_hold_a_users_jobs() -> None:
    for limits in (Limits(user_jobs_per_day=1, user_running=0), Limits(user_stored_bytes=1500, user_running=0)):
        log = Log(limits)
        log.running("a")
        log.submit("b")
        assert started(log.plan()) == []


def test_a_job_over_the_owners_queue_in_a_lost_race_fails_with_its_reason_and_earlier_ones_stay() -> None:
    log = Log(Limits(user_queued=2, max_running=0))
    for name in "abc":
        log.submit(name)
    (fail,) = commands(log.plan())
    assert isinstance(fail, Fail)
    assert fail.code == "quota_exceeded"
    log.take_over("heir")  # a lower limit after a restart must not fail jobs that were admitted
    assert commands(log.plan()) == []


def test_a_video_longer_than_a_days_quota_fails_at_once_instead_of_waiting_for_ever() -> None:
    log = Log(Limits(user_daily_minutes=1))
    log.submit("a", source=lasting(61))
    assert [command.code for command in commands(log.plan())] == ["quota_exceeded"]


def test_a_capped_phase_is_given_to_one_job_at_a_time() -> None:
    log = Log(Limits(max_running=3, user_running=0))
    for name in "ab":
        job = log.running(name)
        log.add(claimed(job, "audio"), completed(job, "audio"))
    releases = [d for d in log.plan().decisions if isinstance(d, Release)]
    assert [(r.job_id, r.stage, r.grant) for r in releases] == [("a", "transcribe", True)]
    log.grant("a", "transcribe")
    releases = [d for d in log.plan().decisions if isinstance(d, Release)]
    assert [(r.job_id, r.grant) for r in releases] == [("a", False)]
    log.add(claimed("a", "transcribe"))
    assert not [d for d in log.plan().decisions if isinstance(d, Release)]
    log.add(completed("a", "transcribe"))
    assert [(d.job_id, d.stage) for d in log.plan().decisions if isinstance(d, Release)] == [
        ("a", "translate"),
        ("b", "transcribe"),
    ]


def test_a_stage_is_released_when_its_needs_are_done_and_not_sent_twice() -> None:
    log = Log()
    job = log.running("a")
    log.add(claimed(job, "audio"), completed(job, "audio"))
    world = World(at(0))
    (release,) = plan(log.board, world, {}).decisions
    assert isinstance(release, Release)
    assert (release.stage, release.attempt, release.expected) == ("transcribe", 1, 0)
    assert release.version == log.board.heads[job]
    assert plan(log.board, world, {release.key: at(0)}).decisions == []
    again = plan(log.board, World(at(31)), {release.key: at(0)})
    assert [type(decision) for decision in again.decisions] == [Release]


def test_a_stage_handed_back_is_released_again_without_using_up_an_attempt() -> None:
    log = Log()
    job = log.running("a")
    log.add(claimed(job, "audio"), event(StageReleased, job, stage="audio", attempt=1, reason="the worker stopped"))
    (release,) = log.plan().decisions
    assert isinstance(release, Release)
    assert release.attempt == 1


def test_a_failure_is_retried_after_its_backoff() -> None:
    log = Log()
    job = log.running("a")
    log.add(claimed(job, "audio"), failed(job, "audio"))
    early = log.plan()
    assert early.decisions == []
    assert early.wake_at is not None
    assert at(0) < early.wake_at <= at(0.75)
    (release,) = plan(log.board, World(early.wake_at), {}).decisions
    assert isinstance(release, Release)
    assert release.attempt == 2


def test_the_third_failure_and_a_hopeless_one_end_the_job_with_their_reason() -> None:
    third, hopeless = Log(), Log()
    for attempt in (1, 2, 3):
        if attempt == 1:
            third.running("a")
        third.add(claimed("a", "audio", attempt), failed("a", "audio", attempt))
    hopeless.running("a")
    hopeless.add(claimed("a", "audio"), failed("a", "audio", retryable=False))
    for log in (third, hopeless):
        assert commands(log.plan()) == [Fail("audio", "engine_crashed", "it died")]


def test_a_full_disk_uses_up_no_attempts() -> None:
    log = Log()
    job = log.running("a")
    for attempt in range(1, 6):
        full = failed(job, "audio", attempt)
        log.add(
            claimed(job, "audio", attempt),
            full.model_copy(update={"data": full.data.model_copy(update={"code": "disk_full"})}),
        )
    assert commands(log.plan(5)) == []
    (release,) = log.plan(DISK_RETRY_S).decisions
    assert isinstance(release, Release)


def test_below_the_disk_floor_nothing_starts_and_nothing_is_released() -> None:
    log = Log()
    log.running("a")
    log.submit("b")
    assert log.plan(free_gb=9.9).decisions == []
    assert len(log.plan(free_gb=10.0).decisions) == 2


def test_without_a_live_worker_nothing_starts() -> None:
    log = Log()
    log.submit("a")
    assert log.plan(pools=frozenset()).decisions == []


@pytest.mark.parametrize(
    ("pools", "device", "pool"),
    [({"cpu", "gpu"}, "auto", "gpu"), ({"cpu"}, "auto", "cpu"), ({"cpu", "gpu"}, "cpu", "cpu")],
)
def test_engines_run_in_the_gpu_pool_where_one_lives_and_the_job_allows_it(
    pools: set[Pool], device: str, pool: str
) -> None:
    log = Log()
    job = log.running("a", device=device)
    log.add(claimed(job, "audio"), completed(job, "audio"))
    (release,) = log.plan(pools=frozenset(pools)).decisions
    assert isinstance(release, Release)
    assert release.pool == pool


def test_running_out_of_memory_makes_the_next_attempt_smaller() -> None:
    log = Log()
    job = log.submit("a")
    made = log.plan()
    (start,) = [decision for decision in made.decisions if isinstance(decision, StartJob)]
    log.start(job, settings=dict(start.settings))
    died = failed(job, "transcribe")
    log.add(
        claimed(job, "audio"),
        completed(job, "audio"),
        claimed(job, "transcribe"),
        died.model_copy(update={"data": died.data.model_copy(update={"code": "out_of_memory"})}),
    )
    (release,) = log.plan(10).decisions
    assert isinstance(release, Release)
    assert start.settings["asr_beam"].value == 5
    assert release.settings["asr_beam"] == 1


def test_a_running_job_pauses_only_at_a_stage_boundary_and_a_resume_withdraws_it() -> None:
    log = Log()
    job = log.running("a")
    log.add(claimed(job, "audio"), event(JobPauseRequested, job, reason=""))
    assert log.plan().decisions == []
    log.add(completed(job, "audio"))
    assert commands(log.plan()) == [PauseNow()]
    log.add(event(JobResumed, job, reason=""))
    assert [type(decision) for decision in log.plan().decisions] == [Release]


def test_a_job_with_all_stages_done_completes() -> None:
    log = Log()
    job = log.running("a")
    for stage in GRAPH:
        log.add(claimed(job, stage), completed(job, stage))
    assert commands(log.plan()) == [Complete()]


def test_backpressure_degrades_then_delays_and_gives_the_mode_back() -> None:
    log = Log(Limits(backpressure_q_max=2, max_running=0))
    for name in "ab":
        log.submit(name, mode="high")
    assert commands(log.plan()) == []
    log.submit("c", mode="high")
    assert commands(log.plan()) == [Degrade("medium", 3, "backpressure_degraded")]
    down = event(JobDegraded, "c", from_mode="high", to_mode="medium", queue_len=3, reason="backpressure_degraded")
    log.add(down)
    log.submit("d", mode="low")
    (delay,) = commands(log.plan())
    assert isinstance(delay, Delay)
    assert timedelta(seconds=2.0) <= delay.until - at(0) <= timedelta(seconds=2.75)
    log.add(event(JobDelayed, "d", until=delay.until, queue_len=4, reason=delay.reason))
    assert commands(log.plan()) == []
    log.add(event(JobCanceled, "a", reason=""), event(JobCanceled, "b", reason=""))
    assert commands(log.plan()) == [Restore("the queue is short again")]


def test_a_job_that_opts_out_keeps_its_mode_and_waits() -> None:
    log = Log(Limits(backpressure_q_max=1, max_running=0))
    log.submit("a")
    log.submit("b", mode="high", degrade=False)
    (delay,) = commands(log.plan())
    assert isinstance(delay, Delay)


def test_a_delayed_job_starts_when_its_time_has_come() -> None:
    log = Log()
    log.submit("a")
    log.add(event(JobDelayed, "a", until=at(5), queue_len=9, reason="busy"))
    early = log.plan(1)
    assert (early.decisions, early.wake_at) == ([], at(5))
    assert started(log.plan(5)) == ["a"]


def test_an_operators_override_is_obeyed_and_taken_back() -> None:
    log = Log()
    log.running("a")
    log.submit("b")

    def change(value: int | None) -> None:
        data = LimitsChangedData(overrides={"MAX_CONCURRENCY_GLOBAL": value})
        log.add(LimitsChanged(**context("runtime"), data=data))

    change(1)
    assert started(log.plan()) == []
    change(None)
    assert started(log.plan()) == ["b"]


@given(st.integers(1, 200))
def test_backoff_doubles_to_its_cap_with_bounded_jitter(failures: int) -> None:
    pause = backoff(failures, Limits(), "job", "tts").total_seconds()
    base = min(8.0, 0.5 * 2 ** (failures - 1))
    assert 0.5 * base <= pause <= 1.5 * base


@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from(["high", "medium", "low"])), max_size=12),
    st.integers(1, 4),
    st.integers(0, 2),
    st.integers(0, 2),
)
def test_no_plan_ever_exceeds_a_cap(jobs: list[tuple[str, Any]], cap: int, per_user: int, per_mode: int) -> None:
    limits = Limits(max_running=cap, user_running=per_user, modes={"high": per_mode}, backpressure_q_max=0)
    log = Log(limits)
    for number, (owner, mode) in enumerate(jobs):
        log.submit(f"j{number}", owner=owner, mode=mode)
    running: list[tuple[str, Any]] = []
    while begun := started(log.plan()):
        (job_id,) = begun
        log.start(job_id)
        running.append(jobs[int(job_id[1:])])
    assert len(running) <= cap
    assert not per_user or all(sum(owner == o for o, _ in running) <= per_user for owner in "xyz")
    assert not per_mode or sum(mode == "high" for _, mode in running) <= per_mode
    if not per_user and not per_mode:
        assert len(running) == min(cap, len(jobs))
