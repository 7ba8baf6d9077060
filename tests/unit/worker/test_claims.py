"""E4: a worker owns a stage only by its claim, and only the newest claim commits."""

from services.worker.claims import attributes, claim, commit, job_runs
from shared.eventlog.memory import MemoryEventLog
from shared.events.types import JobCanceled, JobStarted, StageCompleted
from shared.identity import uuid7
from tests.factories import command, completed, event, failed, submitted


async def running_job(log: MemoryEventLog) -> str:
    job = uuid7()
    await log.append(submitted(job))
    await log.append(event(JobStarted, job, run=1))
    return job


async def test_of_two_workers_with_the_same_command_the_zombie_is_refused() -> None:
    log = MemoryEventLog()
    job = await running_job(log)
    zombie = await claim(log, command(job), "zombie", "h", "cpu")
    heir = await claim(log, command(job), "heir", "h", "cpu")
    assert zombie is not None
    assert heir is not None
    assert heir.fence > zombie.fence
    assert not await commit(log, zombie, completed(job, "audio"))
    assert await commit(log, heir, completed(job, "audio"))
    assert sum(isinstance(record.event, StageCompleted) for record in log.records) == 1


async def test_a_command_for_a_finished_or_failed_attempt_is_not_claimed() -> None:
    log = MemoryEventLog()
    job = await running_job(log)
    await log.append(completed(job, "audio"))
    await log.append(failed(job, "transcribe"))
    assert await claim(log, command(job, "audio"), "w", "h", "cpu") is None
    assert await claim(log, command(job, "transcribe"), "w", "h", "cpu") is None


async def test_a_retry_is_claimed_over_the_failure_that_it_expects() -> None:
    log = MemoryEventLog()
    job = await running_job(log)
    seq = await log.append(failed(job, "audio"))
    assert await claim(log, command(job, attempt=2, expected=seq), "w", "h", "cpu") is not None


async def test_a_cancelled_job_wants_nothing_any_more() -> None:
    log = MemoryEventLog()
    job = await running_job(log)
    assert await job_runs(log, job)
    await log.append(event(JobCanceled, job))
    assert not await job_runs(log, job)
    assert not await job_runs(log, uuid7())


def test_events_of_a_worker_name_their_cause() -> None:
    made = attributes(command("j"), "w1", "cause")
    assert (made["actor"], made["causationid"], made["subject"]) == ("w1", "cause", "j")
