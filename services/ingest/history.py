"""A job as the log tells it, and its transitions on a user's word.

Lives here: fold, decide, append again on a conflict. Does not live here: what is legal (`shared.job.aggregate`).
"""

import re
from datetime import UTC, datetime

from shared.eventlog.port import ConflictError, EventLog, Expect
from shared.events.subjects import job_filter
from shared.events.types import JobEvent, JobSubmitted
from shared.identity import uuid7
from shared.job.aggregate import Job, evolve
from shared.job.transitions import (
    Cancel,
    Command,
    Context,
    Pause,
    Refusal,
    Reprioritize,
    Requeue,
    Resume,
    decide,
)
from shared.problems import Problem

SOURCE = "urn:dubline:ingest"
TRIES = 8
"""A running job gets a few events a second at most; so many conflicts in a row mean that something else is wrong."""

_ASKED: dict[type[Command], str] = {
    Pause: "paused",
    Resume: "resumed",
    Cancel: "cancelled",
    Requeue: "run again",
    Reprioritize: "given another priority",
}

_JOB_ID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


async def submission_of(log: EventLog, job_id: str) -> JobSubmitted | None:
    """Return the event that made this job, if there is one. Raises LogUnavailableError."""
    first = await log.read(job_filter(job_id), limit=1)
    event = first[0].event if first else None
    return event if isinstance(event, JobSubmitted) else None


async def load(log: EventLog, job_id: str) -> tuple[Job, int]:
    """Return the job and the last sequence of its filter, which an undecodable event moves too (E7).

    Raises Problem 404 (also for what is no id and must not become a subject), LogUnavailableError.
    """
    job: Job | None = None
    after = 0
    while _JOB_ID.match(job_id) and (batch := await log.read(job_filter(job_id), after=after)):
        for recorded in batch:
            if recorded.event is not None:
                job = evolve(job, recorded.seq, recorded.event)
        after = batch[-1].seq
    if job is None:
        raise Problem(404, "job_not_found", "There is no job with this id.")
    return job, after


async def transition(log: EventLog, job_id: str, command: Command, actor: str, traceparent: str | None) -> Job:
    """Append what `command` makes of the job and return the job after it.

    Raises Problem 404, 409 with the job's state where the command is illegal, LogUnavailableError.
    """
    event_id = uuid7()  # one id for all tries, so that a lost answer is recognised (E3)
    for _ in range(TRIES):
        job, head = await load(log, job_id)
        context = Context(event_id, datetime.now(UTC), SOURCE, actor, traceparent=traceparent)
        event = _decided(job, command, context)
        if isinstance(event, Refusal):
            raise Problem(409, event.code, _why_not(job, command), state=event.state)
        try:
            seq = await log.append(event, Expect(job_filter(job_id), head))
        except ConflictError:
            continue
        after = evolve(job, seq, event)
        assert after is not None
        return after
    raise Problem(409, "too_busy", "The job changes too fast. Try again.")


def _decided(job: Job, command: Command, context: Context) -> JobEvent | Refusal:
    if isinstance(command, Requeue) and not job.state.terminal:
        return Refusal("illegal_transition", job.state)  # a running job is handed back by the scheduler only
    return decide(job, command, context)


def _why_not(job: Job, command: Command) -> str:
    if isinstance(command, Pause) and job.pause_requested:
        return "The job was asked to pause already: it will when its stage has ended."
    return f"A job in state {job.state} cannot be {_ASKED[type(command)]}."
