"""What an owner may still start today.

Lives here: the per-owner rules over the ledger, with the reason of a refusal in words. Pure.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.scheduler.ledger import Use
from services.scheduler.limits import Limits
from shared.job.model import Job


@dataclass(frozen=True)
class Refused:
    """Why a job may not start now; `code` is for programs."""

    code: str
    reason: str


def refusal(use: Use, running: int, job: Job, limits: Limits) -> Refused | None:
    """Return why an owner with this use of today cannot start this job now, or None."""
    if limits.user_running and running >= limits.user_running:
        return Refused("user_cap", f"{running} of {limits.user_running} jobs of this user are running")
    if job.started_run == job.run:  # it goes on after a pause, and was counted when it first started
        return None
    minutes = (use.media_s + job.submitted.source.duration_s) / 60
    if limits.user_daily_minutes and minutes > limits.user_daily_minutes:
        left = limits.user_daily_minutes - use.media_s / 60
        reason = f"this user has {left:.0f} of {limits.user_daily_minutes:g} processing minutes left today (UTC)"
        return Refused("daily_minutes", reason)
    if limits.user_jobs_per_day and use.started >= limits.user_jobs_per_day:
        return Refused("jobs_per_day", f"this user has started {use.started} jobs today (UTC), which is the limit")
    if limits.user_stored_bytes and use.stored_bytes > limits.user_stored_bytes:
        return Refused("stored_bytes", "this user's files take more space than allowed")
    return None


def seconds_left(now: datetime) -> float:
    """Return the seconds until the counters of the day start again."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return (midnight - now).total_seconds()
