"""The board on disk, so that a start reads the tail of the log instead of all of it.

Lives here: the board as JSON and back, and the file. Does not live here: what a board is (`board`). A snapshot is a
cache of the log: one that does not fit (another version, another log, one that is ahead of its log) is left unused.
"""

from collections import deque
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from services.scheduler.backpressure import Verdict
from services.scheduler.board import REMEMBERED, Board, Degradation
from services.scheduler.breakers import Breaker, Breakers
from services.scheduler.eta import Speeds
from services.scheduler.grants import Grants
from services.scheduler.ledger import Ledger, Use
from services.scheduler.limits import Limits
from shared.artifacts import write_bytes
from shared.events.names import Stage
from shared.events.policy import JobDegraded, JobDelayed, JobRestored
from shared.events.runtime import PrewarmProgressed, PrewarmRequested
from shared.events.types import JobFailed
from shared.job.model import Job
from shared.job.transitions import Fail

VERSION = 2
"""Raised when the board's fold changes: what an older one folded would not be what this one folds."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Degradation(_Strict):
    job_id: str
    at: datetime
    event: JobDegraded | JobRestored | JobDelayed


class Snapshot(_Strict):
    """`log_id` is the id of the log's first event; `seq` the last sequence that is folded in."""

    version: int
    log_id: str
    seq: int
    quarantined: int
    jobs: list[Job]
    heads: dict[str, int]
    virtual: dict[str, float]
    clock: float
    served_at: dict[int, datetime]
    grants_head: int
    epoch: int
    holder: str | None
    open_grants: list[tuple[str, Stage | None]]
    uses: dict[str, tuple[date, float, int, int, int]]
    breakers: dict[str, tuple[int, datetime, Stage]]
    speeds: dict[str, Any]
    overrides: dict[str, float]
    limits_head: int
    verdicts: dict[str, Verdict]
    refused: dict[str, Fail]
    degradations: list[_Degradation]
    dead_letters: list[JobFailed]
    prewarms: dict[str, list[PrewarmRequested | PrewarmProgressed]]


def dump(board: Board, log_id: str) -> Snapshot:
    """Return everything of a board that its log decided; equal boards give equal snapshots."""
    uses = {
        owner: (use.day, use.media_s, use.started, use.submitted, use.stored_bytes)
        for owner, use in sorted(board.ledger.owners.items())
    }
    return Snapshot(
        version=VERSION,
        log_id=log_id,
        seq=board.seq,
        quarantined=board.quarantined,
        jobs=[board.jobs[job_id] for job_id in sorted(board.jobs)],
        heads=dict(sorted(board.heads.items())),
        virtual=dict(sorted(board.queue.virtual.items())),
        clock=board.queue.clock,
        served_at=dict(sorted(board.queue.served_at.items())),
        grants_head=board.grants.head,
        epoch=board.grants.epoch,
        holder=board.grants.holder,
        open_grants=sorted(board.grants.open, key=lambda slot: (slot[0], slot[1] or "")),
        uses=uses,
        breakers={name: (b.failures, b.failed_at, b.stage) for name, b in sorted(board.breakers.known.items())},
        speeds=board.speeds.dump(),
        overrides=dict(sorted(board.overrides.items())),
        limits_head=board.limits_head,
        verdicts=dict(board.verdicts),
        refused=dict(board.refused),
        degradations=[_Degradation(job_id=d.job_id, at=d.at, event=d.event) for d in board.degradations],
        dead_letters=list(board.dead_letters.values()),
        prewarms=board.prewarms,
    )


def load(snapshot: Snapshot, configured: Limits) -> Board:
    """Return the board that a snapshot was made of, under the limits that are configured now."""
    board = Board(configured)
    board.seq, board.quarantined = snapshot.seq, snapshot.quarantined
    board.grants = Grants(snapshot.grants_head, snapshot.epoch, snapshot.holder)
    board.grants.open = set(snapshot.open_grants)
    board.ledger = Ledger({owner: Use(*use) for owner, use in snapshot.uses.items()})
    board.breakers = Breakers({name: Breaker(*breaker) for name, breaker in snapshot.breakers.items()})
    board.speeds = Speeds.load(snapshot.speeds)
    board.override(dict(snapshot.overrides))
    board.limits_head = snapshot.limits_head
    board.queue.virtual, board.queue.clock = dict(snapshot.virtual), snapshot.clock
    board.queue.served_at = dict(snapshot.served_at)
    for job in snapshot.jobs:
        board.restore(job, snapshot.heads[job.id])
    board.verdicts, board.refused = dict(snapshot.verdicts), dict(snapshot.refused)
    made = (Degradation(d.job_id, d.at, d.event) for d in snapshot.degradations)
    board.degradations = deque(made, maxlen=REMEMBERED)
    board.dead_letters = {event.subject: event for event in snapshot.dead_letters}
    board.prewarms = {task: list(steps) for task, steps in snapshot.prewarms.items()}
    return board


def save(path: Path, snapshot: Snapshot) -> None:
    """Replace the file. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, snapshot.model_dump_json().encode())


def read(path: Path, log_id: str, log_head: int) -> Snapshot | None:
    """Return the saved snapshot if it is one of this log, else None."""
    try:
        found = Snapshot.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    fits = found.version == VERSION and found.log_id == log_id and found.seq <= log_head
    return found if fits else None
