"""Whether an owner may queue one more job: what ingest asks before it answers 202.

Lives here: the answer over the board, and reservations for jobs that were admitted but are not in the log yet, so that
two submissions at once cannot both take the last place. Does not live here: quotas on starting (`quotas`).
"""

from dataclasses import dataclass, field
from typing import TypeVar

from services.scheduler.board import Board
from services.scheduler.policy import World
from services.scheduler.quotas import seconds_left
from shared.runtime_state import AdmitAnswer, AdmitRequest, QuotaLeft

RESERVED_S = 60.0
"""An admitted job that does not appear in the log for so long was not submitted after all."""

Count = TypeVar("Count", int, float)


@dataclass(frozen=True)
class _Reservation:
    owner: str
    size: int
    until: float


@dataclass
class Admission:
    """The reservations of one active scheduler."""

    reserved: dict[str, _Reservation] = field(default_factory=dict)

    def peek(self, request: AdmitRequest, board: Board, world: World) -> AdmitAnswer:
        """Answer without reserving anything."""
        return self._refusal(request, board, world) or AdmitAnswer(admitted=True)

    def left(self, owner: str, board: Board, world: World) -> QuotaLeft:
        """Return what an owner may still do, jobs that are admitted but not in the log yet counted in."""
        limits, use = board.limits, board.ledger.use(owner, world.now)
        pending = [kept for job_id, kept in self.reserved.items() if kept.owner == owner and not board.knows(job_id)]
        stored = use.stored_bytes + sum(kept.size for kept in pending)
        queued = board.waiting_of.get(owner, 0) + len(pending)
        return QuotaLeft(
            jobs_today=_rest(limits.user_jobs_per_day, use.submitted + len(pending)),
            minutes_today=_rest(limits.user_daily_minutes, round(use.media_s / 60, 2)),
            queued=_rest(limits.user_queued, queued),
            stored_bytes=_rest(limits.user_stored_bytes, stored),
            running=_rest(limits.user_running, board.queue.running(owner)),
            reset_seconds=int(seconds_left(world.now)),
        )

    def ask(self, request: AdmitRequest, board: Board, world: World, clock: float) -> AdmitAnswer:
        """Answer, and reserve a place for an admitted job; `clock` is monotonic seconds."""
        self.reserved = {
            job_id: kept for job_id, kept in self.reserved.items() if kept.until > clock and not board.knows(job_id)
        }
        refusal = self._refusal(request, board, world)
        if refusal is not None:
            return refusal
        self.reserved[request.job_id] = _Reservation(request.owner, request.bytes, clock + RESERVED_S)
        return AdmitAnswer(admitted=True)

    def _refusal(self, request: AdmitRequest, board: Board, world: World) -> AdmitAnswer | None:
        limits, owner = board.limits, request.owner
        pending = [kept for job_id, kept in self.reserved.items() if kept.owner == owner and job_id != request.job_id]
        use = board.ledger.use(owner, world.now)
        reset = int(seconds_left(world.now))
        queued = board.waiting_of.get(owner, 0) + len(pending)
        if limits.user_queued and queued >= limits.user_queued:
            detail = f"You have {queued} jobs waiting, which is the limit; submit more when some have started."
            return _no("max_queued_per_user", limits.user_queued, 0, None, detail)
        today = use.submitted + len(pending)
        if limits.user_jobs_per_day and today >= limits.user_jobs_per_day:
            detail = f"You have submitted {today} jobs today (UTC), which is the limit."
            return _no("jobs_per_day_per_user", limits.user_jobs_per_day, 0, reset, detail)
        stored = use.stored_bytes + sum(kept.size for kept in pending)
        if limits.user_stored_bytes and stored + request.bytes > limits.user_stored_bytes:
            left = max(0, limits.user_stored_bytes - stored)
            detail = f"Your files may take {limits.user_stored_bytes} bytes; {left} are left."
            return _no("max_storage_bytes_per_user", limits.user_stored_bytes, left, None, detail)
        if limits.user_daily_minutes and request.duration_s > 60 * limits.user_daily_minutes:
            minutes = limits.user_daily_minutes
            detail = f"The video is longer than the {minutes:g} minutes that may be processed for you in a day."
            return _no("daily_processing_minutes", minutes, minutes - use.media_s / 60, reset, detail)
        return None


def _rest(limit: Count, used: Count) -> Count | None:
    """Return what is left of a limit; 0 is none."""
    return max(limit - used, 0) if limit else None


def _no(code: str, limit: float, remaining: float, reset: int | None, detail: str) -> AdmitAnswer:
    return AdmitAnswer(admitted=False, code=code, limit=limit, remaining=remaining, reset_seconds=reset, detail=detail)
