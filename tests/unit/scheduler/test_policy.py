"""What the scheduler decides, as values in and values out."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.policy import Limits, Release, Transition, backoff, plan
from shared.events.types import JobStarted, StageReleased
from shared.job.aggregate import Complete, Fail, Job, Start, evolve
from shared.job.stages import GRAPH
from tests.factories import NOW, claimed, completed, event, failed, submitted

LIMITS = Limits()


def job(job_id: str, *events: object, priority: int = 100) -> Job:
    folded = evolve(None, 1, submitted(job_id, priority=priority))
    for seq, item in enumerate(events, 2):
        folded = evolve(folded, seq, item)  # type: ignore[arg-type]
    assert folded is not None
    return folded


def running(job_id: str, *events: object) -> Job:
    return job(job_id, event(JobStarted, job_id, run=1), *events)


def jobs(*many: Job) -> dict[str, Job]:
    return {one.id: one for one in many}


def test_a_queued_job_starts_when_a_slot_is_free() -> None:
    made = plan(jobs(job("a")), frozenset(), LIMITS, NOW)
    assert made.decisions == [Transition("a", Start())]
    assert made.waiting == {}


def test_the_global_cap_holds_and_says_why_a_job_waits() -> None:
    made = plan(
        jobs(running("a"), running("b"), job("c")), frozenset({("a", "audio", 0), ("b", "audio", 0)}), LIMITS, NOW
    )
    assert made.decisions == []
    assert made.waiting == {"c": "2 of 2 jobs are running"}


def test_lower_priority_numbers_go_first_then_age() -> None:
    made = plan(jobs(job("b"), job("a"), job("edit", priority=50)), frozenset(), LIMITS, NOW)
    assert [decision.job_id for decision in made.decisions] == ["edit", "a"]


def test_a_stage_is_released_once_when_its_needs_are_done() -> None:
    state = jobs(running("a", completed("a", "audio")))
    made = plan(state, frozenset(), LIMITS, NOW)
    assert made.decisions == [Release("a", "transcribe", 1, 0)]
    assert plan(state, frozenset({("a", "transcribe", 0)}), LIMITS, NOW).decisions == []


def test_a_claimed_stage_is_left_to_its_worker() -> None:
    assert plan(jobs(running("a", claimed("a", "audio"))), frozenset(), LIMITS, NOW).decisions == []


def test_a_stage_handed_back_is_released_again_without_using_up_an_attempt() -> None:
    released = event(StageReleased, "a", stage="audio", attempt=1, reason="the worker stopped")
    state = jobs(running("a", claimed("a", "audio"), released))
    made = plan(state, frozenset({("a", "audio", 0)}), LIMITS, NOW)
    assert made.decisions == [Release("a", "audio", 1, 4)]


def test_a_failure_is_retried_after_its_backoff() -> None:
    state = jobs(running("a", claimed("a", "audio"), failed("a", "audio")))
    early = plan(state, frozenset(), LIMITS, NOW)
    assert early.decisions == []
    assert early.wake_at is not None
    assert NOW < early.wake_at <= NOW + timedelta(seconds=0.75)
    assert plan(state, frozenset(), LIMITS, early.wake_at).decisions == [Release("a", "audio", 2, 4)]


def test_the_third_failure_and_a_hopeless_one_end_the_job_with_their_reason() -> None:
    third = jobs(running("a", failed("a", "audio", attempt=3)))
    hopeless = jobs(running("a", failed("a", "audio", attempt=1, retryable=False)))
    for state in (third, hopeless):
        made = plan(state, frozenset(), LIMITS, NOW)
        assert made.decisions == [Transition("a", Fail("audio", "engine_crashed", "it died"))]


def test_a_job_with_all_stages_done_completes() -> None:
    made = plan(jobs(running("a", *(completed("a", stage) for stage in GRAPH))), frozenset(), LIMITS, NOW)
    assert made.decisions == [Transition("a", Complete())]


@given(st.integers(1, 20))
def test_backoff_doubles_to_its_cap_with_bounded_jitter(attempt: int) -> None:
    pause = backoff(attempt, LIMITS, "job", "tts").total_seconds()
    base = min(8.0, 0.5 * 2 ** (attempt - 1))
    assert 0.5 * base <= pause <= 1.5 * base


@given(st.lists(st.sampled_from(["queued", "running", "done"]), max_size=12), st.integers(1, 5))
def test_no_plan_ever_exceeds_the_cap(states: list[str], cap: int) -> None:
    many = [
        running(f"j{n}") if state == "running" else job(f"j{n}") for n, state in enumerate(states) if state != "done"
    ]
    active = sum(state == "running" for state in states)
    made = plan(jobs(*many), frozenset(), Limits(max_concurrency_global=cap), NOW)
    starts = sum(isinstance(d, Transition) for d in made.decisions)
    assert starts <= max(0, cap - active)
    assert starts + len(made.waiting) + active == len(many)
