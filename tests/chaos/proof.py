"""What must hold after the fire, from the log, the disk and the process table.

Lives here: each check, as a function that returns what it found broken. Does not live here: the history of one job or
of a cap; that is `tests.history`.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.library.jobstore.dump import dump
from services.library.rebuild import rebuild_into
from shared.artifacts import matches
from shared.eventlog.jetstream import JetStreamEventLog
from shared.eventlog.port import Recorded
from shared.events.subjects import COMMAND_STREAM
from shared.events.types import JobFailed, JobSubmitted, StageCompleted, StageFailed
from shared.job.aggregate import evolve
from shared.job.model import Job, JobState
from tests import local_http
from tests.chaos.faults import Fault, Kind

AFTERMATH_S = 20.0
"""A fault explains failures for so long after it ended: a stage notices late, and its report may have waited."""

_TAKES_WORKERS_DOWN: frozenset[Kind] = frozenset(
    {"kill_worker", "stop_worker", "kill_broker", "blackhole", "half_open", "reset", "slow"}
)
EXPLAINED_BY: Mapping[str, frozenset[Kind]] = {
    "child_died": frozenset({"kill_child"}),
    "out_of_memory": frozenset({"kill_child"}),  # what a SIGKILL is taken for where the kernel's count cannot be read
    "dead_letter": _TAKES_WORKERS_DOWN,
    "disk_full": frozenset({"disk_full"}),
    "ffmpeg_failed": frozenset({"disk_full"}),
}
"""Failure code -> the faults that may lead to it."""

_TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.tmp(\..*)?")
CATCH_UP_S, CATCH_UP_LOOKS = 30.0, 100


@dataclass
class Ordered:
    """A job that was accepted, what its user last saw of it, and what the user was told."""

    id: str
    state: JobState = JobState.QUEUED
    cancel_asked: bool = False
    cancel_confirmed: bool = False

    @property
    def open(self) -> bool:
        return not self.state.terminal


def fold_into(jobs: dict[str, Job], records: Iterable[Recorded]) -> None:
    """Bring jobs up to date, as the services see them."""
    for record in records:
        if record.event and (job := evolve(jobs.get(record.event.subject), record.seq, record.event)):
            jobs[job.id] = job


def folded(records: Iterable[Recorded]) -> dict[str, Job]:
    """Return every job of the log."""
    jobs: dict[str, Job] = {}
    fold_into(jobs, records)
    return jobs


def broken_promises(records: Sequence[Recorded], ordered: Mapping[str, Ordered]) -> list[str]:
    """Every accepted job, and no other, is in the log once and ended as its user was told."""
    jobs = folded(records)
    submitted = [record.event.subject for record in records if isinstance(record.event, JobSubmitted)]
    found = [f"seq {record.seq} does not decode: {record.error}" for record in records if record.event is None]
    found += [f"job {job_id} is lost" for job_id in ordered if job_id not in submitted]
    found += [f"job {job_id} was made, but nobody was told" for job_id in jobs if job_id not in ordered]
    for job_id, order in ordered.items():
        state = jobs[job_id].state if job_id in jobs else None
        if state is JobState.CANCELED and not order.cancel_asked:
            found.append(f"job {job_id} is CANCELED, and nobody asked for it")
        if order.cancel_confirmed and state is not JobState.CANCELED:
            found.append(f"job {job_id} is {state}, but its cancel was confirmed")
    return found


def unexplained_failures(records: Iterable[Recorded], faults: Sequence[Fault]) -> list[str]:
    """Every failure of a stage follows from a fault that was injected, and every failed job from such a stage."""
    found: list[str] = []
    codes: set[tuple[str, str]] = set()
    for record in records:
        match record.event:
            case StageFailed(subject=job_id, data=data, time=time):
                codes.add((job_id, data.code))
                kinds = EXPLAINED_BY.get(data.code, frozenset())
                if not any(fault.kind in kinds and _covers(fault, time.timestamp()) for fault in faults):
                    found.append(f"seq {record.seq}: {data.stage} of {job_id} failed with {data.code}: {data.message}")
            case JobFailed(subject=job_id, data=data) if (job_id, data.code) not in codes:
                found.append(f"seq {record.seq}: job {job_id} failed with {data.code}, which no stage did")
    return found


def _covers(fault: Fault, at: float) -> bool:
    return fault.began <= at <= (fault.ended or at) + AFTERMATH_S


def missing_artifacts(records: Iterable[Recorded], output: Path) -> list[str]:
    """Every artifact of every DONE job exists as recorded (E4)."""
    return [
        f"job {job.id}: {artifact.path} is not as recorded"
        for job in folded(records).values()
        if job.state is JobState.DONE
        for stage in job.stages.values()
        for artifact in stage.outputs
        if not matches(artifact, output)
    ]


def run_twice(records: Iterable[Recorded]) -> list[str]:
    """No stage of a job completed twice. Also in `tests.history`; here without any state machine."""
    completed = Counter(
        f"{record.event.data.stage} of {record.event.subject}"
        for record in records
        if isinstance(record.event, StageCompleted)
    )
    return [f"{stage} completed {times} times" for stage, times in completed.items() if times > 1]


async def projection_differs(log: JetStreamEventLog, live: Path, scratch: Path) -> list[str]:
    """E5: jobs.db equals a rebuild from the log, row by row, once the library has caught up."""
    await rebuild_into(log, scratch)
    expected = await asyncio.to_thread(dump, scratch)
    for _ in range(CATCH_UP_LOOKS):
        projected = await asyncio.to_thread(dump, live)
        if projected == expected:
            return []
        await asyncio.sleep(CATCH_UP_S / CATCH_UP_LOOKS)
    rows = set(map(repr, projected)) ^ set(map(repr, expected))
    return [f"jobs.db differs from its rebuild in {len(rows)} rows, for instance {min(rows)[:300]}"]


async def commands_left(monitor: str) -> list[str]:
    """The work queue is empty: what was done or dropped has been acknowledged."""
    async with local_http.async_client(trust_env=False) as client:
        answer = (await client.get(f"{monitor}/jsz?acc=DUBLINE&streams=true")).json()
    streams = {s["name"]: s["state"]["messages"] for a in answer["account_details"] for s in a["stream_detail"]}
    left = streams[COMMAND_STREAM]
    return [f"{left} commands are left in the queue"] if left else []


def temporary_files(output: Path, temporary: Path) -> list[str]:
    """Nothing half-written is left: not below the output folder, not in TMPDIR."""
    beside = [path for path in output.rglob(".*") if _TEMPORARY.fullmatch(path.name)]
    return [f"temporary file left: {path}" for path in [*beside, *temporary.iterdir()]]
