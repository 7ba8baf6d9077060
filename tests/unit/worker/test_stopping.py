"""Which events of a job end its running stage, how the child notices, and what is then said of it."""

from typing import Any

import pytest

from services.worker.claims import Claim
from services.worker.gate import Gate, StageCanceledError
from services.worker.messages import Failed, Finished
from services.worker.outcomes import Stopped, event_of, timed_out, with_budget
from services.worker.watch import Stop, reason_to_stop
from shared.events.types import (
    EngineUsed,
    JobCanceled,
    JobCompleted,
    JobFailed,
    JobPauseRequested,
    JobRequeued,
    JobResumed,
    JobStarted,
    StageCompleted,
    StageFailed,
    StageReleased,
    Timings,
)
from tests.factories import command, event


@pytest.mark.parametrize(
    ("kind", "data", "kill"),
    [
        (JobCanceled, {}, False),
        (JobCanceled, {"kill": True}, True),
        (JobFailed, {"code": "c", "message": "m"}, False),
        (JobCompleted, {}, False),
        (JobRequeued, {"run": 2}, False),
        (JobStarted, {"run": 2}, False),
    ],
)
def test_the_end_of_a_job_ends_its_stage(kind: Any, data: dict[str, Any], *, kill: bool) -> None:
    stop = reason_to_stop(event(kind, "j", **data), run=1)
    assert isinstance(stop, Stop)
    assert (stop.kill, stop.lost) == (kill, False)


@pytest.mark.parametrize(("kind", "data"), [(JobPauseRequested, {}), (JobResumed, {}), (JobStarted, {"run": 1})])
def test_a_request_to_pause_lets_the_stage_end(kind: Any, data: dict[str, Any]) -> None:
    assert reason_to_stop(event(kind, "j", **data), run=1) is None


def test_a_stage_that_was_asked_to_end_ends_at_its_next_check() -> None:
    gate = Gate(15, clock=lambda: 0.0)
    gate.start(0.0)
    gate.check()
    gate.ask_to_end()
    with pytest.raises(StageCanceledError):
        gate.check()


def test_being_asked_to_end_when_nothing_runs_does_not_end_the_next_stage() -> None:
    gate = Gate(15, clock=lambda: 0.0)
    gate.ask_to_end()
    gate.check()
    gate.start(0.0)
    gate.check()


def test_no_engine_can_swallow_the_end() -> None:
    assert not issubclass(StageCanceledError, Exception)


def test_a_stage_that_was_stopped_for_longer_than_the_ack_wait_waits_for_its_parent() -> None:
    times = iter([100.0, 100.1])
    waited: list[float] = []

    def clock() -> float:
        now = next(times)
        if now == 100.1:
            gate.renew(90.0)  # the parent saw the stage as ours while we slept
        waited.append(now)
        return now

    gate = Gate(15, clock=clock)
    gate.start(0.0)
    gate.check()
    assert waited == [100.0, 100.1]


def test_what_the_parent_saw_before_it_was_stopped_itself_is_too_old_to_go_on() -> None:
    times = iter([100.0, 100.1])

    def clock() -> float:
        now = next(times)
        if now == 100.1:
            gate.renew(5.0)
            gate.ask_to_end()
        return now

    gate = Gate(15, clock=clock)
    gate.start(0.0)
    with pytest.raises(StageCanceledError):
        gate.check()


def finished() -> Finished:
    used = EngineUsed(name="e", version="1", device="cpu", digest="d")
    return Finished(key="k", outputs=[], engine=used, timings=Timings(), issues=[], facts={})


def test_more_than_the_budget_is_flagged_and_not_stopped() -> None:
    wanted = command("j", budget_s=10.0)
    flagged = with_budget(finished(), wanted, 10.5)
    assert isinstance(flagged, Finished)
    assert [issue.code for issue in flagged.issues] == ["budget_exceeded"]
    assert with_budget(finished(), wanted, 9.5) == finished()
    assert with_budget(finished(), command("j"), 1e6) == finished()
    assert with_budget(Stopped("s"), wanted, 10.5) == Stopped("s")


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (finished(), StageCompleted),
        (timed_out(command("j", timeout_s=2.5)), StageFailed),
        (Stopped("the job was cancelled"), StageReleased),
    ],
)
def test_each_outcome_is_one_event_that_names_the_claim_as_its_cause(outcome: Any, kind: Any) -> None:
    made = event_of(Claim(command("j", attempt=2), 7, "claim-id"), outcome, "w1")
    assert isinstance(made, kind)
    assert (made.data.stage, made.data.attempt, made.causationid, made.actor) == ("audio", 2, "claim-id", "w1")


def test_a_failure_names_its_engine_for_the_circuit_breakers() -> None:
    failure = Failed(code="engine_failed", message="m", retryable=True, engine="whisper")
    made = event_of(Claim(command("j"), 7, "c"), failure, "w1")
    assert isinstance(made, StageFailed)
    assert made.data.engine == "whisper"
