"""Loading one job from the log: whole, up to a sequence, up to a moment; never by what is no id."""

from datetime import timedelta
from typing import Any

import pytest

from shared.eventlog.job_history import fold, load_job, read_records, until
from shared.eventlog.memory import MemoryEventLog
from shared.events.types import JobCanceled, JobStarted
from shared.identity import is_job_id, new_id
from shared.job.model import JobState
from tests.factories import NOW, event, submitted

JOB = "0190a000-0000-7000-8000-000000000001"
OTHER = "0190a000-0000-7000-8000-000000000002"


async def two_jobs() -> MemoryEventLog:
    log = MemoryEventLog()
    started: Any = event(JobStarted, JOB, run=1).model_copy(update={"time": NOW + timedelta(seconds=5)})
    canceled: Any = event(JobCanceled, JOB).model_copy(update={"time": NOW + timedelta(seconds=9)})
    for what in (submitted(JOB), submitted(OTHER), started, canceled):
        await log.append(what)
    return log


async def test_a_job_is_the_fold_of_its_own_events() -> None:
    job, head = await load_job(await two_jobs(), JOB)
    assert job is not None
    assert (job.state, head) == (JobState.CANCELED, 4)


async def test_a_job_at_an_earlier_sequence() -> None:
    log = await two_jobs()
    job, head = await load_job(log, JOB, up_to=3)
    assert job is not None
    assert (job.state, head) == (JobState.RUNNING, 3)
    assert (await load_job(log, OTHER, up_to=1)) == (None, 0)


async def test_a_job_at_an_earlier_moment() -> None:
    records = await read_records(await two_jobs(), JOB)
    states = [
        job.state if (job := fold(until(records, NOW + timedelta(seconds=s)))) else None for s in (-1, 0, 4, 5, 8, 9)
    ]
    queued, running = JobState.QUEUED, JobState.RUNNING
    assert states == [None, queued, queued, running, running, JobState.CANCELED]


@pytest.mark.parametrize("text", ["", "*", ">", f"{JOB}.>", JOB.upper(), f"{JOB}\n", "../etc", "0190a000"])
async def test_what_is_no_id_never_becomes_a_subject(text: str) -> None:
    assert not is_job_id(text)
    assert await load_job(await two_jobs(), text) == (None, 0)


def test_other_ids_say_what_they_are() -> None:
    assert new_id("proj").startswith("proj_")
    assert len(new_id("hook")) == len("hook_") + 16
