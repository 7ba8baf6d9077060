"""Whether an owner may queue one more job, or bring one more upload: what ingest asks before it says yes.

Lives here: the answer over the board, and reservations for jobs that were admitted but are not in the log yet, so that
two submissions at once cannot both take the last place. Does not live here: quotas on starting (`quotas`), and the room
that open uploads were promised, which ingest counts and tells with its question.
"""

from dataclasses import dataclass, field
from typing import TypeVar

from services.scheduler.board import Board
from services.scheduler.ledger import Use
from services.scheduler.limits import Limits
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

    def left(self, owner: str, board: Board, world: World, promised: int = 0) -> QuotaLeft:
        """Return what an owner may still do, jobs that are admitted but not in the log yet counted in.

        `promised`: bytes of the owner's open uploads.
        """
        limits, use = board.limits, board.ledger.use(owner, world.now)
        pending = [kept for job_id, kept in self.reserved.items() if kept.owner == owner and not board.knows(job_id)]
        stored = use.stored_bytes + sum(kept.size for kept in pending) + promised
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
        if not request.upload:
            self.reserved[request.job_id] = _Reservation(request.owner, request.bytes, clock + RESERVED_S)
        return AdmitAnswer(admitted=True)

    def _refusal(self, request: AdmitRequest, board: Board, world: World) -> AdmitAnswer | None:
        use = board.ledger.use(request.owner, world.now)
        pending = [
            kept for job_id, kept in self.reserved.items() if kept.owner == request.owner and job_id != request.job_id
        ]
        stored = use.stored_bytes + sum(kept.size for kept in pending)
        if request.upload:
            return _no_room(request, stored, board.limits)
        return (
            _no_place(request.owner, use, len(pending), board, world)
            or _no_room(request, stored, board.limits)
            or _too_long(request, use, board.limits, world)
        )


def _no_place(owner: str, use: Use, pending: int, board: Board, world: World) -> AdmitAnswer | None:
    limits = board.limits
    queued = board.waiting_of.get(owner, 0) + pending
    if limits.user_queued and queued >= limits.user_queued:
        detail = f"You have {queued} jobs waiting, which is the limit; submit more when some have started."
        return _no("max_queued_per_user", limits.user_queued, 0, None, detail)
    today = use.submitted + pending
    if limits.user_jobs_per_day and today >= limits.user_jobs_per_day:
        detail = f"You have submitted {today} jobs today (UTC), which is the limit."
        return _no("jobs_per_day_per_user", limits.user_jobs_per_day, 0, int(seconds_left(world.now)), detail)
    return None


def _no_room(request: AdmitRequest, stored: int, limits: Limits) -> AdmitAnswer | None:
    most = limits.user_stored_bytes
    left = most - stored - request.promised
    if not most or request.bytes <= left:
        return None
    detail = f"Your files may take {most} bytes; {max(0, left)} are left."
    if request.promised:
        detail += f" Your open uploads take {request.promised} of them: make jobs of these, or remove some."
    return _no("max_storage_bytes_per_user", most, max(0, left), None, detail)


def _too_long(request: AdmitRequest, use: Use, limits: Limits, world: World) -> AdmitAnswer | None:
    minutes = limits.user_daily_minutes
    if not minutes or request.duration_s <= 60 * minutes:
        return None
    detail = f"The video is longer than the {minutes:g} minutes that may be processed for you in a day."
    left = minutes - use.media_s / 60
    return _no("daily_processing_minutes", minutes, left, int(seconds_left(world.now)), detail)


def _rest(limit: Count, used: Count) -> Count | None:
    """Return what is left of a limit; 0 is none."""
    return max(limit - used, 0) if limit else None


def _no(code: str, limit: float, remaining: float, reset: int | None, detail: str) -> AdmitAnswer:
    return AdmitAnswer(admitted=False, code=code, limit=limit, remaining=remaining, reset_seconds=reset, detail=detail)
