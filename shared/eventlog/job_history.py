"""One job as the log tells it: reading its events, and folding them.

Lives here: the one way to load a job. Does not live here: the fold itself (`shared.job.aggregate`).
"""

from collections.abc import Iterable
from datetime import datetime

from shared.eventlog.port import EventLog, Recorded
from shared.events.subjects import job_filter
from shared.identity import is_job_id
from shared.job.aggregate import evolve
from shared.job.model import Job

READ_AT_ONCE = 256


def step(job: Job | None, recorded: Recorded) -> tuple[Job | None, str]:
    """Return the job after one event, and the reason if it has to be quarantined ("" if not)."""
    if recorded.event is None:
        return job, recorded.error or "does not decode"
    try:
        return evolve(job, recorded.seq, recorded.event), ""
    except Exception as error:  # noqa: BLE001 -- E7: whatever one event breaks must not block the others
        return job, type(error).__name__


def fold(records: Iterable[Recorded]) -> Job | None:
    """Return the job that these events make; what does not decode or apply is passed over, as when it came first."""
    job: Job | None = None
    for recorded in records:
        job, _ = step(job, recorded)
    return job


async def read_records(log: EventLog, job_id: str, *, up_to: int | None = None) -> list[Recorded]:
    """Return a job's records in order, up to and including sequence `up_to`; none for what is no job id.

    Raises LogUnavailableError.
    """
    records: list[Recorded] = []
    after = 0
    while is_job_id(job_id) and (batch := await log.read(job_filter(job_id), after=after, limit=READ_AT_ONCE)):
        records += [recorded for recorded in batch if up_to is None or recorded.seq <= up_to]
        after = batch[-1].seq
        if up_to is not None and after >= up_to:
            break
    return records


async def load_job(log: EventLog, job_id: str, *, up_to: int | None = None) -> tuple[Job | None, int]:
    """Return the job and the last sequence of its filter, which an undecodable event moves too (E7).

    Raises LogUnavailableError.
    """
    records = await read_records(log, job_id, up_to=up_to)
    return fold(records), records[-1].seq if records else 0


def until(records: Iterable[Recorded], moment: datetime) -> list[Recorded]:
    """Return the records up to a moment: all before the first whose event is later."""
    kept: list[Recorded] = []
    for recorded in records:
        if recorded.event is not None and recorded.event.time > moment:
            break
        kept.append(recorded)
    return kept
