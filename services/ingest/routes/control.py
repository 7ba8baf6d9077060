"""`POST /api/jobs/{id}/cancel`, `/pause`, `/resume`: what a user may do to a job.

Lives here: the three routes. Does not live here: which transition is legal (`shared.job.aggregate`).
"""

from typing import Any

from fastapi import APIRouter, Request

from services.ingest.fields import trace_parent
from services.ingest.history import transition
from services.ingest.routes.context import FromApp, Service
from services.ingest.routes.examples import problem
from services.ingest.routes.jobs import JobAnswer
from shared.identity import LOCAL_OWNER
from shared.job.aggregate import Cancel, Command, Pause, Resume

router = APIRouter(prefix="/api/jobs/{job_id}", tags=["jobs"])

REFUSALS: dict[int | str, dict[str, Any]] = {
    404: problem("Unknown job", "job_not_found"),
    409: problem("Not in the job's state, which the member `state` names", "illegal_transition"),
    503: problem("Try again", "log_unavailable"),
}


@router.post("/cancel", summary="Cancel a job that is not finished", responses=REFUSALS)
async def cancel(job_id: str, request: Request, service: FromApp) -> JobAnswer:
    """The worker of a running stage sees the event and stops; what is finished of the job stays on disk."""
    return await _apply(job_id, Cancel("cancelled by its owner"), request, service)


@router.post("/pause", summary="Keep a queued job from starting", responses=REFUSALS)
async def pause(job_id: str, request: Request, service: FromApp) -> JobAnswer:
    return await _apply(job_id, Pause("paused by its owner"), request, service)


@router.post("/resume", summary="Let a paused job start", responses=REFUSALS)
async def resume(job_id: str, request: Request, service: FromApp) -> JobAnswer:
    return await _apply(job_id, Resume("resumed by its owner"), request, service)


async def _apply(job_id: str, command: Command, request: Request, service: Service) -> JobAnswer:
    traceparent = trace_parent(request.headers.get("traceparent"))
    job = await transition(service.bus.log, job_id, command, LOCAL_OWNER, traceparent)
    return JobAnswer.of(job.id, job.state)
