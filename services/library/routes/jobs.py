"""GET /api/jobs, /api/jobs/{id}, /api/jobs/{id}/files.

Lives here: parameters and shapes. Stored rows are spliced into the list as they are, not validated again.
"""

import asyncio
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Response

from services.library.files import existing
from services.library.library import LIMIT_DEFAULT, LIMIT_MAX, Library, get_job, library_of, list_jobs
from shared.job.aggregate import JobState

OFFSET_MAX = 10**9

router = APIRouter(prefix="/api/jobs", tags=["jobs"])
NeedsLibrary = Annotated[Library, Depends(library_of)]


@router.get("")
async def jobs(
    library: NeedsLibrary,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
    offset: Annotated[int, Query(ge=0, le=OFFSET_MAX)] = 0,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    state: JobState | None = None,
) -> Response:
    """One page of jobs, newest first, with the exact total of the filter.

    `next_cursor` continues at the same cost however deep; `offset` is for jumping and wins only without a cursor.
    """
    listing = await list_jobs(library, limit=limit, offset=offset, cursor=cursor, state=state)
    rest = {
        "limit": listing.limit,
        "offset": listing.offset,
        "total": listing.total,
        "next_offset": listing.next_offset,
        "next_cursor": listing.next_cursor,
    }
    body = b'{"items":[%b],%b' % (b",".join(listing.items), orjson.dumps(rest)[1:])
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get("/{job_id}")
async def job(library: NeedsLibrary, job_id: str) -> Response:
    """One job: its timeline per stage, its outputs, and the live progress of what runs now."""
    row = await get_job(library, job_id)
    return Response(orjson.dumps(row), media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get("/{job_id}/files")
async def job_files(library: NeedsLibrary, job_id: str) -> dict[str, Any]:
    """The outputs that exist on disk now: all of them in `files`, and the main ones by kind (null if absent)."""
    row = await get_job(library, job_id)
    files = await asyncio.to_thread(existing, library.layout.output, row["outputs"])
    kinds = {kind: next((file for file in files if file["kind"] == kind), None) for kind in ("mkv", "mp4")}
    return {"files": files, **kinds, "subs": [file for file in files if file["kind"] == "subs"]}
