"""A job as the log tells it, and its transitions on a user's word.

Lives here: fold, decide, append again on a conflict. Does not live here: what is legal (`shared.job.aggregate`).
"""

from collections.abc import Callable
from datetime import UTC, datetime

from services.ingest.asker import By, not_yours
from shared.access.principal import Principal
from shared.eventlog.job_history import load_job
from shared.eventlog.port import ConflictError, EventLog, Expect
from shared.events.subjects import job_filter
from shared.events.types import JobEvent, JobSubmitted
from shared.identity import uuid7
from shared.job.aggregate import evolve
from shared.job.curation import UNCHANGED, CurationCommand, Delete, curate
from shared.job.kept import can_run_again
from shared.job.model import Job
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

DELETED = "deleted by its owner"

_ASKED: dict[type[Command | CurationCommand], str] = {
    Pause: "paused",
    Resume: "resumed",
    Cancel: "cancelled",
    Requeue: "run again",
    Reprioritize: "given another priority",
}


async def submission_of(log: EventLog, job_id: str) -> JobSubmitted | None:
    """Return the event that made this job, if there is one. Raises LogUnavailableError."""
    first = await log.read(job_filter(job_id), limit=1)
    event = first[0].event if first else None
    return event if isinstance(event, JobSubmitted) else None


async def load(log: EventLog, job_id: str, who: Principal) -> tuple[Job, int]:
    """Return the job and the last sequence of its filter, which an undecodable event moves too (E7).

    What `who` may not see is not there for them. Raises Problem 404, 403 for what they may see but not change, 410 for
    a deleted job, LogUnavailableError.
    """
    job, head = await load_job(log, job_id)
    if job is None or not who.sees(job.submitted.owner, job.visibility):
        raise Problem(404, "job_not_found", "There is no job with this id.")
    if not who.changes(job.submitted.owner):
        raise not_yours()
    if job.deleted:
        raise Problem(410, "job_deleted", "This job was deleted.")
    return job, head


async def transition(log: EventLog, job_id: str, command: Command | CurationCommand, by: By) -> Job:
    """Append what `command` makes of the job and return the job after it; nothing where it is so already.

    Raises Problem 403, 404, 409 with the job's state where the command is illegal, 410, LogUnavailableError.
    """
    return await _append(log, job_id, lambda _job: command, by)


async def delete(log: EventLog, job_id: str, by: By) -> Job:
    """Delete the job and return it; an unfinished one is killed first, in an event of its own.

    Raises Problem 403, 404, 410 for a job that is deleted already, LogUnavailableError.
    """
    for _ in range(TRIES):  # somebody may run it again in between
        job = await _append(log, job_id, _towards_deletion, by)
        if job.deleted:
            return job
    raise _too_busy()


def _towards_deletion(job: Job) -> Command | CurationCommand:
    return Delete(DELETED) if job.state.terminal else Cancel(DELETED, kill=True)


async def _append(log: EventLog, job_id: str, choose: Callable[[Job], Command | CurationCommand], by: By) -> Job:
    """Append the event of the command that is chosen for the job as it is, again after each conflict."""
    event_id = uuid7()  # one id for all tries, so that a lost answer is recognised (E3)
    for _ in range(TRIES):
        job, head = await load(log, job_id, by.principal)
        command = choose(job)
        context = Context(event_id, datetime.now(UTC), SOURCE, by.actor, traceparent=by.traceparent)
        event = _decided(job, command, context)
        if isinstance(event, Refusal):
            if event.code == UNCHANGED:
                return job
            raise Problem(409, event.code, _why_not(job, command), state=event.state)
        try:
            seq = await log.append(event, Expect(job_filter(job_id), head))
        except ConflictError:
            continue
        after = evolve(job, seq, event)
        assert after is not None
        return after
    raise _too_busy()


def _too_busy() -> Problem:
    return Problem(409, "too_busy", "The job changes too fast. Try again.")


def _decided(job: Job, command: Command | CurationCommand, context: Context) -> JobEvent | Refusal:
    if isinstance(command, CurationCommand):
        return curate(job, command, context)
    if isinstance(command, Requeue) and not job.state.terminal:
        return Refusal("illegal_transition", job.state)  # a running job is handed back by the scheduler only
    return decide(job, command, context)


def _why_not(job: Job, command: Command | CurationCommand) -> str:
    if isinstance(command, Pause) and job.pause_requested:
        return "The job was asked to pause already: it will when its stage has ended."
    if isinstance(command, Requeue) and job.imported is not None:
        return "The job was imported finished, without its source: it cannot be run again."
    if isinstance(command, Requeue) and job.state.terminal and not can_run_again(job):
        return "What the job was made of was not to be kept, and is gone: it cannot be run again. Submit it anew."
    return f"A job in state {job.state} cannot be {_ASKED.get(type(command), 'changed so')}."
