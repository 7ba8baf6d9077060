"""GET /api/jobs/{id}/logs, /logs/tail and /logs/stream: what the workers wrote of a job.

Lives here: three ways to read one file. Does not live here: the files (`services.library.logs`).
A stream begins with the last lines and goes on from there (E3). Its data is HTML, as it was before: one `<div>` for
each line with the text escaped, so a page may insert it as it is. Its ids say where to go on after a lost connection.
"""

import asyncio
import contextlib
import html
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from services.library.follower import newest_row
from services.library.hub import HEARTBEAT_S, Subscription
from services.library.library import Library, get_job
from services.library.logs import LogFollower, end_of_log, last_lines
from services.library.readers import sees_row
from services.library.routes.documents import GONE, NO_JOB, JobId
from services.library.routes.events import BEGIN, EVENT_STREAM, HEADERS, HEARTBEAT
from services.library.routes.jobs import NeedsLibrary
from shared.access.current import Who
from shared.access.principal import Principal
from shared.job.model import JobState

POLL_S = 0.5
LINES_DEFAULT = 200
LINES_MAX = 5000
END = b"event: end\ndata: \n\n"
ENDED = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELED})
TEXT_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

router = APIRouter(prefix="/api/jobs/{job_id}/logs", tags=["logs"])

TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "Text.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    **NO_JOB,
    **GONE,
}

Lines = Annotated[int, Query(ge=1, le=LINES_MAX)]


@router.get("", response_class=Response, summary="A job's log", responses=TEXT)
async def logs(library: NeedsLibrary, who: Who, job_id: JobId) -> Response:
    """The job's log; of a very long one its end, after a line that says so. Empty before anything was written."""
    job = await get_job(library, job_id, who)
    return _text(await asyncio.to_thread(end_of_log, library.layout.output, _base_dir(job)))


@router.get("/tail", response_class=Response, summary="The end of a job's log", responses=TEXT)
async def tail(library: NeedsLibrary, who: Who, job_id: JobId, n: Lines = LINES_DEFAULT) -> Response:
    """The last `n` lines of the job's log."""
    job = await get_job(library, job_id, who)
    return _text(await asyncio.to_thread(last_lines, library.layout.output, _base_dir(job), n))


@router.get(
    "/stream",
    response_class=StreamingResponse,
    summary="A job's log as it grows",
    responses={**EVENT_STREAM, **NO_JOB, **GONE},
)
async def stream(
    library: NeedsLibrary,
    who: Who,
    job_id: JobId,
    *,
    n: Lines = LINES_DEFAULT,
    once: Annotated[bool, Query(description="End after the lines that are there now.")] = False,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=64)] = None,
) -> StreamingResponse:
    """The last `n` lines and each that follows: event `log`; event `end` when the job has ended and all is sent."""
    job = await get_job(library, job_id, who)
    log = LogFollower(library.layout.output, _base_dir(job))
    frames = _follow(library, who, job_id, log, last_event_id, n, once=once)
    return StreamingResponse(frames, media_type="text/event-stream", headers=HEADERS)


async def _follow(
    library: Library, who: Principal, job_id: str, log: LogFollower, place: str | None, lines: int, *, once: bool
) -> AsyncIterator[bytes]:
    """Yield frames until the job has ended, or is no longer theirs to read: then without a word, as for a lost one."""
    subscription = library.hub.subscribe(job_id)
    clock = asyncio.get_running_loop().time
    try:
        yield BEGIN
        last = clock()
        await asyncio.to_thread(log.start, place, lines)
        while not subscription.closed:
            subscription.wake.clear()
            # Asked before each piece of the file is read: what was written before the end is in it.
            row = await _row(library, job_id)
            if row is not None and not sees_row(who, row):
                return
            ended = once or row is None or row.get("state") in ENDED
            if new := await asyncio.to_thread(log.read):
                yield _frames(new, log.place)
                last = clock()
                continue
            if ended:
                yield _frames(log.flush(), log.place) + END
                return
            if clock() - last >= HEARTBEAT_S:
                yield HEARTBEAT
                last = clock()
            await _wait_until_changed(subscription)
    finally:
        library.hub.unsubscribe(subscription)


def _base_dir(job: dict[str, Any]) -> str:
    return str(job.get("base_dir", ""))  # rows of foreign writers may have none


async def _row(library: Library, job_id: str) -> dict[str, Any] | None:
    row = await newest_row(library, job_id)
    return None if row is None else orjson.loads(row)


async def _wait_until_changed(subscription: Subscription) -> None:
    """Return when something has happened to the job, or it is time to look at the file."""
    subscription.take_progress()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(POLL_S):
            await subscription.wake.wait()


def _frames(lines: list[bytes], place: str) -> bytes:
    """Return a frame for each line, and behind them where to go on."""
    frames = [f"event: log\ndata: <div>{_html(line)}</div>\n\n" for line in lines]
    return "".join([*frames, f"id: {place}\n\n"]).encode()


def _html(line: bytes) -> str:
    """Return a line as text of HTML. A carriage return would end the frame's data: progress bars are full of them."""
    return html.escape(line.decode(errors="replace").rstrip("\r").replace("\r", " "))


def _text(body: bytes) -> Response:
    return Response(body, media_type="text/plain; charset=utf-8", headers=TEXT_HEADERS)
