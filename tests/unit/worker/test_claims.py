"""E4: a worker owns a stage only by its claim, only the newest claim commits, and nobody works for a job that ended."""

from typing import Any

import pytest

from services.worker.claims import (
    MAX_DELIVERIES,
    Claim,
    Drop,
    Owner,
    attributes,
    claim,
    commit,
    epitaph,
    verdict,
)
from shared.commands import StageCommand
from shared.eventlog.job_history import load_job
from shared.eventlog.memory import MemoryEventLog
from shared.eventlog.port import Recorded
from shared.events.policy import JobDegraded
from shared.events.subjects import job_filter, stage_subject
from shared.events.types import (
    JobCanceled,
    JobPauseRequested,
    JobRequeued,
    JobResumed,
    JobStarted,
    StageClaimed,
    StageCompleted,
    StageReleased,
)
from shared.identity import uuid7
from shared.job.model import Job, StageStatus
from tests.factories import claimed, command, completed, event, failed, submitted

ME = Owner("me", "here", "cpu")


class CountingLog(MemoryEventLog):
    """Counts the reads."""

    reads = 0

    async def read(self, *args: Any, **kwargs: Any) -> list[Recorded]:
        self.reads += 1
        return await super().read(*args, **kwargs)


async def log_of(job: str, *events: Any) -> CountingLog:
    log = CountingLog()
    for item in (submitted(job), event(JobStarted, job, run=1), *events):
        await log.append(item)
    return log


async def folded(job: str, *events: Any) -> Job:
    found, _ = await load_job(await log_of(job, *events), job)
    assert found is not None
    return found


def released(job: str, attempt: int = 1) -> StageReleased:
    made: StageReleased = event(StageReleased, job, stage="audio", attempt=attempt, reason="r")
    return made


async def test_a_first_delivery_is_claimed_without_reading_anything() -> None:
    job = uuid7()
    log = await log_of(job)
    assert isinstance(await claim(log, command(job, version=2), ME), Claim)
    assert log.reads == 0


async def test_a_change_that_does_not_concern_the_stage_costs_a_read_but_not_the_claim() -> None:
    job = uuid7()
    log = await log_of(job, completed(job, "transcribe"))
    mine = await claim(log, command(job, version=2), ME)
    assert isinstance(mine, Claim)
    assert log.reads > 0


@pytest.mark.parametrize("last", [(JobCanceled, {}), (JobPauseRequested, {}), (JobRequeued, {"run": 2})])
async def test_a_job_that_was_stopped_after_the_command_was_sent_is_not_worked_for(last: tuple[Any, Any]) -> None:
    job = uuid7()
    log = await log_of(job, event(last[0], job, **last[1]))
    before = len(log.records)
    assert isinstance(await claim(log, command(job, version=2), ME), Drop)
    assert len(log.records) == before


async def test_a_pause_that_was_taken_back_stops_nothing() -> None:
    job = uuid7()
    log = await log_of(job, event(JobPauseRequested, job), event(JobResumed, job))
    assert isinstance(await claim(log, command(job, version=2), ME), Claim)


@pytest.mark.parametrize("last", [(JobCanceled, {}), (JobPauseRequested, {}), (JobRequeued, {"run": 2})])
async def test_the_claim_of_a_dead_worker_whose_job_was_stopped_is_given_back(last: tuple[Any, Any]) -> None:
    job = uuid7()
    log = await log_of(job, claimed(job, "audio"), event(last[0], job, **last[1]))
    assert isinstance(await claim(log, command(job, version=2), ME, redelivered=True), Drop)
    state, _ = await load_job(log, job)
    assert state is not None
    assert state.stages["audio"].status is StageStatus.RELEASED
    assert state.claimed_stages == []


async def test_what_is_given_back_is_only_the_claim_that_was_seen() -> None:
    job = uuid7()

    class Late(MemoryEventLog):
        """Another worker's outcome gets in just before the release."""

        async def append(self, item: Any, expect: Any = None) -> int:
            if isinstance(item, StageReleased) and not any(isinstance(r.event, StageCompleted) for r in self.records):
                await super().append(completed(job, "audio"))
            return await super().append(item, expect)

    log = Late()
    for item in (submitted(job), event(JobStarted, job, run=1), claimed(job, "audio"), event(JobCanceled, job)):
        await log.append(item)
    assert isinstance(await claim(log, command(job, version=2), ME, redelivered=True), Drop)
    assert not any(isinstance(record.event, StageReleased) for record in log.records)


def test_an_unknown_job_is_not_worked_for() -> None:
    assert isinstance(verdict(None, command("nobody")), Drop)


async def test_of_two_workers_with_the_same_command_the_zombie_is_refused() -> None:
    job = uuid7()
    log = await log_of(job)
    zombie = await claim(log, command(job, version=2), Owner("zombie", "h", "cpu"))
    heir = await claim(log, command(job, version=2), Owner("heir", "h", "cpu"), redelivered=True)
    assert isinstance(zombie, Claim)
    assert isinstance(heir, Claim)
    assert heir.fence > zombie.fence
    assert not await commit(log, zombie, completed(job, "audio"))
    assert await commit(log, heir, completed(job, "audio"))
    assert sum(isinstance(record.event, StageCompleted) for record in log.records) == 1


async def test_a_healthy_worker_commits_although_its_job_moved_on_elsewhere() -> None:
    job = uuid7()
    log = await log_of(job)
    mine = await claim(log, command(job, version=2), ME)
    assert isinstance(mine, Claim)
    await log.append(event(JobDegraded, job, from_mode="high", to_mode="low", queue_len=9, reason="r"))
    await log.append(event(JobCanceled, job))
    assert await commit(log, mine, completed(job, "audio"))


async def test_an_event_that_does_not_decode_is_counted_as_a_change_of_the_job() -> None:
    job = uuid7()
    log = await log_of(job)
    await log.append_raw(stage_subject(job, "mux"), b'{"type": "of a later version"}', "x")
    mine = await claim(log, command(job, version=2), ME)
    assert isinstance(mine, Claim)
    last = await log.last(job_filter(job))
    assert last is not None
    assert last.seq == mine.fence


def records(*events: Any) -> list[Recorded]:
    return [Recorded(seq, "s", b"", item) for seq, item in enumerate(events, 1)]


def test_an_attempt_is_given_up_after_it_took_down_too_many_workers_and_says_the_last() -> None:
    taken = [claimed("j", "audio", worker=f"w{number}") for number in range(MAX_DELIVERIES)]
    new = claimed("j", "audio", worker="new")
    assert epitaph(records(*taken), 1) is None
    reason = epitaph(records(*taken, new), 1)
    assert reason == f"the stage took {MAX_DELIVERIES} workers down, the last one w{MAX_DELIVERIES - 1} on h"


def test_the_failure_of_the_attempt_before_is_in_the_last_words() -> None:
    taken = [claimed("j", "audio", attempt=2) for _ in range(MAX_DELIVERIES + 1)]
    assert "engine_crashed: it died" in (epitaph(records(claimed("j", "audio"), failed("j", "audio"), *taken), 2) or "")


@pytest.mark.parametrize("between", [released("j"), failed("j", "audio"), completed("j", "audio")])
def test_workers_that_ended_in_good_order_are_not_counted(between: Any) -> None:
    taken = [claimed("j", "audio") for _ in range(MAX_DELIVERIES)]
    assert epitaph(records(*taken, between, claimed("j", "audio")), 1) is None


def test_events_of_a_worker_name_their_cause() -> None:
    made = attributes(command("j"), "w1", "cause")
    assert (made["actor"], made["causationid"], made["subject"]) == ("w1", "cause", "j")


async def test_a_claim_names_who_holds_it() -> None:
    job = uuid7()
    log = await log_of(job)
    wanted: StageCommand = command(job, version=2)
    await claim(log, wanted, ME)
    last = log.records[-1].event
    assert isinstance(last, StageClaimed)
    assert (last.data.worker, last.data.host, last.data.pool) == ("me", "here", "cpu")
    assert last.causationid == wanted.causationid
