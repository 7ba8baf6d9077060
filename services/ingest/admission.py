"""May this owner queue another job, or store another upload? The scheduler knows: it folds all jobs from the log.

Lives here: asking it, and the refusal. Does not live here: the limits (`services.scheduler`). Without an answer it is
accepted: the scheduler judges a job again before it starts, and an upload at its submission.
"""

import structlog
from pydantic import ValidationError

from services.ingest.bus import Bus
from shared.events.subjects import SCHEDULER_ADMIT
from shared.problems import Problem
from shared.runtime_state import AdmitAnswer, AdmitRequest

ANSWER_S = 1.0

log = structlog.get_logger()


async def check_admission(bus: Bus, asked: AdmitRequest) -> None:
    """Raise Problem 429 if a limit of the owner refuses; LogUnavailableError while the broker is away."""
    raw = await bus.ask(SCHEDULER_ADMIT, asked.model_dump_json().encode(), ANSWER_S)
    if raw is None:
        log.warning("admission_unanswered", job_id=asked.job_id)
        return
    try:
        answer = AdmitAnswer.model_validate_json(raw)
    except ValidationError:
        log.warning("admission_undecodable", job_id=asked.job_id)
        return
    if not answer.admitted:
        raise refusal(answer)


def refusal(answer: AdmitAnswer) -> Problem:
    """Return the problem that tells which limit refuses, what is left of it, and when to come back."""
    headers = {} if answer.reset_seconds is None else {"Retry-After": str(answer.reset_seconds)}
    return Problem(
        429,
        "quota_exceeded",
        answer.detail or "This would exceed a limit of yours. Wait until some of your jobs have ended.",
        headers=headers,
        quota=answer.code,
        limit=answer.limit,
        remaining=answer.remaining,
        reset_seconds=answer.reset_seconds,
    )
