"""`PUT /api/jobs/{id}/tags`, `POST …/archive`, `/unarchive`, `/visibility`, `DELETE /api/jobs/{id}`.

Lives here: the routes. Does not live here: the events (`services.ingest.history`), lists (`services.library`), and the
removal of a deleted job's files (the library's, once it has the event).
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from services.ingest.asker import Asker, By
from services.ingest.fields import Visible
from services.ingest.history import delete, transition
from services.ingest.routes.context import FromApp, Service
from services.ingest.routes.examples import JOB_ID, JobId
from services.ingest.routes.jobs import JobAnswer
from services.ingest.routes.patterns import words
from shared.curation import TAG_MAX_CHARS, TAGS_MAX, clean_tags
from shared.events.envelope import Timestamp
from shared.events.library import Visibility
from shared.job.curation import Archive, CurationCommand, SetVisibility, Tag, Unarchive
from shared.openapi import problem
from shared.problems import Problem

router = APIRouter(prefix="/api/jobs/{job_id}", tags=["library"])

GONE: dict[int | str, dict[str, Any]] = {
    403: problem("Somebody else's", "not_yours"),
    404: problem("Unknown job", "job_not_found"),
    409: problem("Others change the job all the while; try again", "too_busy"),
    410: problem("The job was deleted", "job_deleted"),
    503: problem("Try again", "log_unavailable"),
}


class CuratedJob(JobAnswer):
    """The job after what was done to it."""

    tags: list[str] = Field(examples=[["family", "2026"]])
    archived: bool = Field(examples=[False], description="Lists leave it out unless they are asked for it.")
    archived_at: Timestamp | None = Field(examples=[None])
    visibility: Visibility = Field(examples=["private"])


class Tags(BaseModel):
    """All tags that the job shall have; they are written in lower case, each once."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    tags: Annotated[
        list[str],
        Field(
            examples=[["family", "2026"]],
            json_schema_extra={
                "maxItems": TAGS_MAX,
                "items": {"type": "string"} | words(TAG_MAX_CHARS),
            },
        ),
    ]


class VisibilityChange(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    visibility: Visible = Field(examples=["shared"])


class Deleted(BaseModel):
    """What had this id is gone from lists; the log keeps that it existed."""

    ok: Literal[True] = True
    id: str = Field(examples=[JOB_ID])


@router.put(
    "/tags",
    summary="Give a job its tags",
    responses=GONE | {422: problem("Not tags", "invalid_tags", "invalid_request")},
)
async def tags(job_id: JobId, wanted: Tags, by: Asker, service: FromApp) -> CuratedJob:
    """They replace all that the job had; an empty list takes them away."""
    try:
        cleaned = clean_tags(wanted.tags)
    except ValueError as error:
        raise Problem(422, "invalid_tags", f"These tags cannot be used: {error}.") from error
    return await _apply(job_id, Tag(cleaned), by, service)


@router.post("/archive", summary="Leave a job out of lists", responses=GONE)
async def archive(job_id: JobId, by: Asker, service: FromApp) -> CuratedJob:
    """Nothing else changes: it runs on if it runs, its files stay, and its address answers."""
    return await _apply(job_id, Archive(), by, service)


@router.post("/unarchive", summary="Show a job in lists again", responses=GONE)
async def unarchive(job_id: JobId, by: Asker, service: FromApp) -> CuratedJob:
    """Takes an archiving back."""
    return await _apply(job_id, Unarchive(), by, service)


@router.post(
    "/visibility",
    summary="Say who may see a job",
    responses=GONE | {422: problem("Neither private nor shared", "invalid_request")},
)
async def visibility(job_id: JobId, wanted: VisibilityChange, by: Asker, service: FromApp) -> CuratedJob:
    """`shared`: every user of the installation; `private`: its owner and admins."""
    return await _apply(job_id, SetVisibility(wanted.visibility), by, service)


@router.delete("", summary="Delete a job and its files", responses=GONE)
async def remove(job_id: JobId, by: Asker, service: FromApp) -> Deleted:
    """An unfinished job is killed first. The row goes with the event, the files soon after."""
    job = await delete(service.bus.log, job_id, by)
    return Deleted(id=job.id)


async def _apply(job_id: str, command: CurationCommand, by: By, service: Service) -> CuratedJob:
    job = await transition(service.bus.log, job_id, command, by)
    return CuratedJob(
        **JobAnswer.of(job.id, job.state).model_dump(),
        tags=job.tags,
        archived=job.archived_at is not None,
        archived_at=job.archived_at,
        visibility=job.visibility,
    )
