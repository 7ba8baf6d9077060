"""What only the log knows of a job: its events, how it was at an earlier moment, and that it was deleted.

Lives here: reading that from the log, and the answer while the log is away. Whether somebody may read a job's past is
judged by the job of now: once it is private, all of it is. Does not live here: the fold
(`shared.eventlog.job_history`), rows of jobs.db (`services.library.library`).
"""

import asyncio
import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import orjson

from services.library.readers import sees_job
from shared.access.principal import Principal
from shared.eventlog.job_history import fold, load_job, read_records, until
from shared.eventlog.port import EventLog, LogUnavailableError, Recorded
from shared.job.model import Job
from shared.problems import Problem

HISTORY_MAX = 1000
"""Events of one answer; a job that was run again and again has more, of which the newest are given."""

ANSWER_TIMEOUT_S = 5.0
RETRY_AFTER_S = 5

SEQ_MAX = (1 << 62) - 1
_SEQ = re.compile(r"^[1-9][0-9]{0,18}\Z", re.ASCII)
_RFC_3339 = re.compile(
    r"^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d{1,9})?)([Zz]|[+\- ]\d\d:\d\d)\Z", re.ASCII
)  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True)
class Past:
    """A job as it was after the event `seq`, and the events up to there."""

    job: Job
    records: Sequence[Recorded]

    @property
    def seq(self) -> int:
        return self.records[-1].seq

    @property
    def time(self) -> datetime:
        """The time of the last event that decodes."""
        return next(found.event.time for found in reversed(self.records) if found.event is not None)


def parse_moment(text: str) -> int | datetime:
    """Return a sequence of the log or a point in time. Raises ValueError for what is neither.

    A `+` that a client forgot to escape comes as a blank; it is read as what was meant.
    """
    if _SEQ.match(text) and int(text) <= SEQ_MAX:
        return int(text)
    found = _RFC_3339.match(text)
    if found is None:
        raise ValueError("it is neither a sequence (1, 2, ...) nor a time such as 2026-01-02T03:04:05Z")
    return datetime.fromisoformat(f"{found[1]}T{found[2]}{found[3].upper().replace(' ', '+')}")


def no_such_job() -> Problem:
    return Problem(404, "job_not_found", "There is no job with this id.")


def deleted() -> Problem:
    return Problem(410, "job_deleted", "This job was deleted. Its past is still there: ask with `at`.")


def log_unavailable() -> Problem:
    """Return the answer to a read that needs the log while the broker is away."""
    detail = "The event log does not answer. Try again in a few seconds; what jobs.db knows is served meanwhile."
    return Problem(503, "log_unavailable", detail, headers={"Retry-After": str(RETRY_AFTER_S)})


async def _in_time(reading: Awaitable[T]) -> T:
    """Raises LogUnavailableError after some seconds."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await reading
    except TimeoutError as error:
        raise LogUnavailableError("the log did not answer in time") from error


async def unlisted(log: EventLog, job_id: str, who: Principal, *, connected: bool) -> Job:
    """Return a job that has no row for `who`, from the log. Raises Problem 404 (also while the log is away), 410."""
    job: Job | None = None
    if connected:
        try:
            job, _ = await _in_time(load_job(log, job_id))
        except LogUnavailableError:
            job = None
    if job is None or not sees_job(who, job):
        raise no_such_job()
    if job.deleted:
        raise deleted()
    return job


async def history_of(log: EventLog, job_id: str, *, connected: bool) -> list[Recorded]:
    """Return all events of a job, the oldest first; none for one that the log does not know. Raises Problem 503.

    For a job of which it is known that the reader may read it.
    """
    if not connected:
        raise log_unavailable()
    try:
        return await _in_time(read_records(log, job_id))
    except LogUnavailableError as error:
        raise log_unavailable() from error


async def job_at(log: EventLog, job_id: str, moment: int | datetime, who: Principal, *, connected: bool) -> Past:
    """Return a job as it was at a sequence of the log or at a time, if `who` may read it.

    Raises Problem 404, 410, 503.
    """
    every = await history_of(log, job_id, connected=connected)
    now = fold(every)
    if now is None or not sees_job(who, now):
        raise no_such_job()
    if isinstance(moment, datetime):
        records = until(every, moment)
    else:
        records = [found for found in every if found.seq <= moment]
    job = fold(records)
    if job is None:
        raise no_such_job()
    if job.deleted:
        raise deleted()
    return Past(job, records)


def told(records: Sequence[Recorded]) -> dict[str, Any]:
    """Return the members `history` and `history_truncated`: CloudEvents, each with its sequence as `seq`."""
    events = [found for found in records if found.event is not None]
    kept = events[-HISTORY_MAX:]
    return {
        "history": [orjson.loads(found.raw) | {"seq": found.seq} for found in kept],
        "history_truncated": len(kept) < len(events),
    }
