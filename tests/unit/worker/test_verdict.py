"""Which command may claim its stage after all, when the job has moved on since it was sent."""

from collections.abc import Sequence
from typing import Any

import pytest

from services.worker.claims import Drop, Take, verdict
from shared.commands import StageCommand
from shared.events.policy import JobReprioritized
from shared.events.types import (
    JobCanceled,
    JobPaused,
    JobPauseRequested,
    JobResumed,
    JobStarted,
    StageReleased,
)
from shared.job.aggregate import evolve
from shared.job.model import Job
from tests.factories import claimed, command, completed, event, failed, submitted

JOB = "j"
STARTED = [submitted(JOB), event(JobStarted, JOB, run=1)]
HANDED_BACK = event(StageReleased, JOB, stage="audio", attempt=1, reason="the worker stopped")


def folded(events: Sequence[Any]) -> Job:
    job: Job | None = None
    for seq, item in enumerate(events, 1):
        job = evolve(job, seq, item)
    assert job is not None
    return job


def sent(before: Sequence[Any], **changes: Any) -> StageCommand:
    """The command that the scheduler sends when these events have happened."""
    job = folded(before)
    return command(JOB, **({"version": job.version, "expected": job.stages["audio"].seq} | changes))


def said(before: Sequence[Any], since: Sequence[Any], **changes: Any) -> Take | Drop:
    return verdict(folded([*before, *since]), sent(before, **changes))


def test_what_does_not_concern_the_stage_does_not_stop_the_command() -> None:
    assert isinstance(said(STARTED, [event(JobReprioritized, JOB, priority=1)]), Take)


def test_a_redelivered_command_inherits_the_claim_that_was_made_from_it() -> None:
    assert isinstance(said(STARTED, [claimed(JOB, "audio")]), Take)
    assert isinstance(said(STARTED, [claimed(JOB, "audio"), claimed(JOB, "audio", worker="w2")]), Take)


@pytest.mark.parametrize(
    "since",
    [
        [claimed(JOB, "audio"), completed(JOB, "audio")],
        [claimed(JOB, "audio"), failed(JOB, "audio")],
        [claimed(JOB, "audio"), HANDED_BACK],
        [claimed(JOB, "audio"), HANDED_BACK, claimed(JOB, "audio", worker="w2")],
    ],
    ids=["done", "failed", "handed back", "claimed anew from another command"],
)
def test_a_command_whose_acknowledgement_was_lost_is_dropped_and_robs_nobody(since: list[Any]) -> None:
    found = said(STARTED, since)
    assert isinstance(found, Drop)
    assert found.release is None


def test_a_command_from_before_a_pause_has_lost_the_slot_that_was_granted_for_it() -> None:
    since = [
        event(JobPauseRequested, JOB, reason=""),
        event(JobPaused, JOB, reason=""),
        event(JobResumed, JOB, reason=""),
        event(JobStarted, JOB, run=1),
    ]
    assert isinstance(said(STARTED, since), Drop)
    assert isinstance(said(STARTED, since[:1]), Drop)
    assert isinstance(said(STARTED, [since[0], since[2]]), Take)  # the pause was withdrawn: the grant still stands


def test_the_claim_of_a_dead_worker_is_given_back_when_its_job_does_not_go_on() -> None:
    found = said(STARTED, [claimed(JOB, "audio"), event(JobCanceled, JOB, reason="")])
    assert isinstance(found, Drop)
    assert found.release is not None


def test_a_command_of_another_run_is_dropped() -> None:
    assert isinstance(said(STARTED, [], run=2), Drop)
