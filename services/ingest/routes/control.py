"""`POST /api/jobs/{id}/cancel`, `/kill`, `/pause`, `/resume`, `/rerun`, `/priority`: what may be done to a job.

Lives here: the routes. Does not live here: which transition is legal (`shared.job.aggregate`).
"""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from services.ingest.asker import Asker, By
from services.ingest.fields import NORMAL, whole
from services.ingest.history import transition
from services.ingest.routes.context import FromApp, Service
from services.ingest.routes.examples import JobId
from services.ingest.routes.jobs import JobAnswer
from shared.job.transitions import Cancel, Command, Pause, Reprioritize, Requeue, Resume
from shared.openapi import problem
from shared.problems import Problem

router = APIRouter(prefix="/api/jobs/{job_id}", tags=["jobs"])

REFUSALS: dict[int | str, dict[str, Any]] = {
    403: problem("Somebody else's", "not_yours"),
    404: problem("Unknown job", "job_not_found"),
    409: problem("Not in the job's state, which the member `state` names", "illegal_transition", "too_busy"),
    410: problem("The job was deleted", "job_deleted"),
    503: problem("Try again", "log_unavailable"),
}


class ControlAnswer(JobAnswer):
    """The job after what was done to it."""

    run: int = Field(examples=[1], description="Which attempt at the whole job this is; a re-run is the next one.")
    priority: int = Field(examples=[100])
    pause_requested: bool = Field(examples=[False], description="It pauses when its running stage has ended.")


class Priority(BaseModel):
    """A place in the queue: 0 is first, 100 is what jobs have, 110 is for what may wait. Below 100 is an admin's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    priority: Annotated[int, Field(ge=0, le=1000, strict=True, examples=[50]), BeforeValidator(whole)]


@router.post("/cancel", summary="Cancel a job that is not finished", responses=REFUSALS)
async def cancel(job_id: JobId, by: Asker, service: FromApp) -> ControlAnswer:
    """The worker of a running stage sees the event and stops; what is finished of the job stays on disk."""
    return await _apply(job_id, Cancel("cancelled by its owner"), by, service)


@router.post("/kill", summary="Cancel a job and kill its running stage at once", responses=REFUSALS)
async def kill(job_id: JobId, by: Asker, service: FromApp) -> ControlAnswer:
    """Like cancel, but the stage's processes get no time to end by themselves."""
    return await _apply(job_id, Cancel("killed by an operator", kill=True), by, service)


@router.post(
    "/pause",
    summary="Keep a queued job from starting, a running one from going on",
    responses=REFUSALS
    | {202: {"model": ControlAnswer, "description": "The job is running: it pauses when its stage has ended."}},
)
async def pause(job_id: JobId, by: Asker, service: FromApp, response: Response) -> ControlAnswer:
    """A queued job is paused with the answer; a running one when no stage of it runs any more."""
    answer = await _apply(job_id, Pause("paused by its owner"), by, service)
    if answer.pause_requested:
        response.status_code = 202
    return answer


@router.post("/resume", summary="Let a paused job go on", responses=REFUSALS)
async def resume(job_id: JobId, by: Asker, service: FromApp) -> ControlAnswer:
    """A paused job queues again; a running one that was asked to pause just goes on."""
    return await _apply(job_id, Resume("resumed by its owner"), by, service)


@router.post("/rerun", summary="Run a finished job again", responses=REFUSALS)
async def rerun(job_id: JobId, by: Asker, service: FromApp) -> ControlAnswer:
    """What is done of it is not done again; the rest is tried anew. `run` of the answer is the new attempt's number."""
    return await _apply(job_id, Requeue("re-run by its owner"), by, service)


@router.post(
    "/priority",
    summary="Give an unfinished job another priority",
    responses=REFUSALS | {422: problem("Not a whole number from 0 to 1000", "invalid_request")},
)
async def priority(job_id: JobId, wanted: Priority, by: Asker, service: FromApp) -> ControlAnswer:
    """A lower number starts first, whoever's job it is; what runs already keeps its slot.

    Only who administers puts a job before the others.
    """
    if wanted.priority < NORMAL and not by.principal.administers:
        raise Problem(403, "scope_missing", f"A priority below {NORMAL} goes before everybody's jobs: an admin's.")
    return await _apply(job_id, Reprioritize(wanted.priority, "set by an operator"), by, service)


async def _apply(job_id: str, command: Command, by: By, service: Service) -> ControlAnswer:
    job = await transition(service.bus.log, job_id, command, by)
    return ControlAnswer(
        **JobAnswer.of(job.id, job.state).model_dump(),
        run=job.run,
        priority=job.priority,
        pause_requested=job.pause_requested,
    )
