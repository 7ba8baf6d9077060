"""GET /api/jobs and /api/jobs/{id}.

Lives here: which read answers what. Does not live here: the parameters of the list (`parameters`), shapes
(`documents`), reads (`services.library.library`, `services.library.past`), files (`outputs`).
"""

from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Header, Query, Request, Response

from services.library import past
from services.library.answers import answer
from services.library.library import Library, get_job, library_of, shown_job
from services.library.routes import examples
from services.library.routes.documents import GONE, NO_JOB, NO_LOG, At, JobDetail, JobId, JobPage, found
from services.library.routes.parameters import ListQuery, Moment
from shared.access.current import Who

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


async def _library(request: Request) -> Library:  # not `library_of` itself: it would be called in a thread
    return library_of(request)


NeedsLibrary = Annotated[Library, Depends(_library)]
IfNoneMatch = Annotated[str | None, Header(description="Tags that the client has; 304 if one is still right.")]


@router.get(
    "",
    response_model=JobPage,
    summary="List jobs",
    responses=found("One page of jobs, newest first.", examples.JOB_PAGE),
)
async def jobs(
    library: NeedsLibrary, who: Who, query: Annotated[ListQuery, Query()], if_none_match: IfNoneMatch = None
) -> Response:
    """One page of the jobs that you may see, newest first, with the exact total of the filter."""
    body, etag = await library.pages.read(query.page(who))
    return answer(body, if_none_match, etag)


@router.get(
    "/{job_id}",
    response_model=JobDetail,
    summary="One job",
    responses={**found("The job.", examples.JOB_DETAIL), **NO_JOB, **GONE, **NO_LOG},
)
async def job(
    library: NeedsLibrary,
    who: Who,
    job_id: JobId,
    history: Annotated[bool, Query(description="Add its events, at most the last 1000.")] = False,
    at: Annotated[
        Moment | None,
        Query(
            description="Answer as the job was then: a sequence of the log, or a time as RFC 3339 writes it.",
            examples=[4730, "2026-01-02T03:04:05Z"],
        ),
    ] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One job: its timeline per stage, its outputs, and the live progress of what runs now; or its past."""
    if at is None:
        shown = await get_job(library, job_id, who)
        if history:
            shown |= past.told(await past.history_of(library.log, job_id, connected=library.connected()))
    else:
        then = await past.job_at(library.log, job_id, at, who, connected=library.connected())
        shown = shown_job(then.job) | {"at": At(seq=then.seq, time=then.time).model_dump(mode="json")}
        if history:
            shown |= past.told(then.records)
    return answer(orjson.dumps(shown), if_none_match)
