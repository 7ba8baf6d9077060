"""GET /, /ui/jobs and /ui/jobs/{id}.

Lives here: what each page is given. It comes from the same reads as the API's answers. Titles are users' file names:
every template escapes, and the policy below lets no script run but our own files.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from services.library.files import existing
from services.library.jobstore.reader import read_counts
from services.library.library import get_job, list_jobs
from services.library.pages import words
from services.library.routes.jobs import NeedsLibrary
from shared.job.aggregate import JobState
from shared.problems import Problem

JOBS_PER_PAGE = 25

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

router = APIRouter(tags=["pages"], include_in_schema=False)

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "language": words.language,
    "issue": words.issue_words,
    "setting_reason": words.setting_reason,
    "clock": words.clock,
    "took": words.took,
    "size": words.size,
    "moment": words.moment,
}
_TEMPLATES.globals |= {
    "lowered": words.lowered,
    "stage_names": words.STAGE_NAMES,
    "state_names": words.STATE_NAMES,
    "status_names": words.STATUS_NAMES,
}


def _page(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_TEMPLATES.get_template(name).render(**values), status, PAGE_HEADERS)


@router.get("/")
async def home() -> Response:
    return RedirectResponse("/ui/jobs")


@router.get("/ui/jobs")
async def jobs_page(
    library: NeedsLibrary,
    state: JobState | None = None,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """The list, the upload form, and how many jobs are in which state."""
    position = library.hub.position
    listing = await list_jobs(library, limit=JOBS_PER_PAGE, cursor=cursor, state=state)
    counts = await library.reader.run(read_counts)
    return _page(
        "jobs.html",
        jobs=[orjson.loads(item) for item in listing.items],
        counts={name: counts[name] for name in words.STATE_NAMES if counts.get(name)},
        total=sum(counts.values()),
        state=state,
        first_page=cursor is None,
        next_cursor=listing.next_cursor,
        position=position,
    )


@router.get("/ui/jobs/{job_id}")
async def job_page(library: NeedsLibrary, job_id: str) -> Response:
    """One job: how far it is, how each stage went, the video and the downloads."""
    position = library.hub.position
    try:
        job = await get_job(library, job_id)
    except Problem as problem:
        return _page("problem.html", problem.status, detail=problem.detail)
    files = await asyncio.to_thread(existing, library.layout.output, job["outputs"])
    return _page(
        "job.html",
        job=job,
        actions=words.actions(JobState(job["state"]), pause_requested=job["pause_requested"]),
        video=next((file for file in files if file["kind"] == "mp4"), None),
        videos=[file for file in files if file["kind"] != "subs"],
        tracks=[file for file in files if file["name"].endswith(".vtt")],
        subtitles=[file for file in files if file["kind"] == "subs"],
        position=position,
    )
