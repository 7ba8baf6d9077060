"""GET /api/events, /api/jobs/{id}/events, /api/jobs/events and /events/jobs/{id}: Server-Sent Events.

Lives here: one client's stream. The first two tell events of the log, with live progress between; their ids are
sequences of the log, so `Last-Event-ID` resumes without gap or duplicate. The other two tell rows, as the list shows
them, for clients of the interface before events: each change, the newest row alone for a client that is slow.
Each tells its client what that may see now (`follower`); the stream of a job that becomes another's private one ends.
Include this router before the one of `/api/jobs/{id}`, which would take `/api/jobs/events` for a job (V4).
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from services.library import past
from services.library.follower import HIDDEN, Follower, Heard, seen_row
from services.library.hub import HEARTBEAT_S
from services.library.library import Library, get_job
from services.library.readers import sees_job
from services.library.routes.documents import GONE, NO_JOB, NO_LOG, JobId
from services.library.routes.jobs import NeedsLibrary
from shared.access.current import Who
from shared.access.principal import Principal
from shared.eventlog.job_history import load_job
from shared.eventlog.port import LogUnavailableError
from shared.identity import is_job_id

RECONNECT_MS = 2000
BEGIN = b"retry: %d\n\n" % RECONNECT_MS
HEARTBEAT = b": still here\n\n"
PROGRESS = "progress"
"""Names live progress in the parameter `types`."""

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-Sent Events, until the client goes or the service stops.",
        "content": {"text/event-stream": {}},
    }
}

router = APIRouter(tags=["events"], default_response_class=StreamingResponse)

LastEventId = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, lt=1 << 62)]
After = Annotated[int | None, Query(ge=0, lt=1 << 62)]
Types = Annotated[
    str | None,
    Query(
        pattern=r"^[a-z0-9_.]+(,[a-z0-9_.]+)*$",
        max_length=200,
        description="Only events whose type begins so, with or without `dubline.`; `progress` is live progress.",
        examples=["job.completed,job.failed"],
    ),
]


@router.get("/api/events", summary="Events of everything", responses=EVENT_STREAM)
async def events(
    library: NeedsLibrary, who: Who, last_event_id: LastEventId = None, after: After = None, types: Types = None
) -> StreamingResponse:
    """Events of all that you may see after `Last-Event-ID` (or `after`); without either, from now on.

    That is your jobs, projects and presets, and the jobs that are shared; for an administrator everybody's.
    """
    return _respond(stream(library, who, None, _place(last_event_id, after, library.hub.position), types))


@router.get("/api/jobs/events", summary="Jobs that change", responses=EVENT_STREAM)
async def jobs_rows(
    library: NeedsLibrary, who: Who, last_event_id: LastEventId = None, after: After = None
) -> StreamingResponse:
    """The row of each job of your list that changes, as it shows it: event `job`, or `deleted` with the id alone."""
    return _respond(row_stream(library, who, None, _place(last_event_id, after, library.hub.position)))


@router.get(
    "/events/jobs/{job_id}", summary="A job as it changes", responses={**EVENT_STREAM, **NO_JOB, **GONE, **NO_LOG}
)
async def job_rows(library: NeedsLibrary, who: Who, job_id: JobId) -> StreamingResponse:
    """One job's row at once, and again on each change; ends when the job is deleted, or no longer yours to see."""
    place = library.hub.position
    await get_job(library, job_id, who)
    return _respond(row_stream(library, who, job_id, place))


@router.get("/api/jobs/{job_id}/events", summary="A job's events", responses={**EVENT_STREAM, **NO_JOB, **NO_LOG})
async def job_events(
    library: NeedsLibrary,
    who: Who,
    job_id: JobId,
    last_event_id: LastEventId = None,
    after: After = None,
    types: Types = None,
) -> StreamingResponse:
    """One job's events after `Last-Event-ID` (or `after`); without either, all of them. A deleted job has them too."""
    await _check_known(library, who, job_id)
    return _respond(stream(library, who, job_id, _place(last_event_id, after, 0), types))


async def stream(
    library: Library, who: Principal, job_id: str | None, place: int, types: str | None = None
) -> AsyncIterator[bytes]:
    """Yield one client's events and progress until it goes, the service stops, or the job is not theirs to see."""
    everything = types is None
    prefixes = tuple(part.removeprefix("dubline.") for part in (types or "").split(","))
    pace = Pace()
    with Follower(library, who, job_id, place) as follower:
        yield BEGIN
        while (heard := await _next(follower)) is not None:
            wires = [item.wire for item in heard.frames if everything or item.kind.startswith(prefixes)]
            if everything or PROGRESS.startswith(prefixes):
                wires += heard.progress.values()
            if pace.is_time(wires):
                yield b"".join(wires) or heartbeat(follower.place)


async def row_stream(library: Library, who: Principal, job_id: str | None, place: int) -> AsyncIterator[bytes]:
    """Yield the row of each job that changes, once for all changes that waited; one job's own at once."""
    pace = Pace()
    with Follower(library, who, job_id, place) as follower:
        yield BEGIN
        if job_id is not None and (first := await seen_row(library, who, job_id)):
            yield _row_frame(job_id, first)
        while (heard := await _next(follower)) is not None:
            rows = {changed: await seen_row(library, who, changed) for changed in heard.jobs}
            frames = [_row_frame(changed, row) for changed, row in rows.items() if row != HIDDEN]
            if heard.frames:  # behind the rows, for a client that loses us between them
                frames.append(b"id: %d\n\n" % heard.frames[-1].seq)
            if pace.is_time(frames):
                yield b"".join(frames) or heartbeat(follower.place)
            if job_id is not None and not rows.get(job_id, b"there"):
                return


class Pace:
    """When one client was told something last: a beat of all is not in step with its silence."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._last = self._clock()

    def is_time(self, news: list[bytes]) -> bool:
        """Whether to send: there are news, or the client has heard nothing for some time."""
        now = self._clock()
        if not news and now - self._last < HEARTBEAT_S / 2:
            return False
        self._last = now
        return True


def heartbeat(place: int) -> bytes:
    """Return a frame without data, with the place that the client has without having been told anything of others'.

    When it comes again it need not be looked for again what there was for it.
    """
    return b"%bid: %d\n\n" % (HEARTBEAT.removesuffix(b"\n"), place)


def _place(last_event_id: int | None, after: int | None, otherwise: int) -> int:
    """Return where a client starts: what its browser remembers is newer than its address."""
    given = last_event_id if last_event_id is not None else after
    return otherwise if given is None else given


def _row_frame(job_id: str, row: bytes | None) -> bytes:
    if row is None:
        return b"event: deleted\ndata: %b\n\n" % orjson.dumps({"id": job_id})
    return b"event: job\ndata: %b\n\n" % row


async def _next(follower: Follower) -> Heard | None:
    """Return what comes next; None at the end, or if the log cannot be read: the client comes again, with its id."""
    try:
        return await follower.next()
    except LogUnavailableError:
        return None


async def _check_known(library: Library, who: Principal, job_id: str) -> None:
    """Raise Problem 404 for a job that never was for them, 503 if nobody can tell now.

    One that was deleted is in the log; one that is another's is answered as one that never was, there too.
    """
    if not is_job_id(job_id):
        raise past.no_such_job()
    if await seen_row(library, who, job_id):
        return
    if not library.connected():
        raise past.log_unavailable()
    try:
        job, last = await load_job(library.log, job_id)
    except LogUnavailableError as error:
        raise past.log_unavailable() from error
    if not (last and who.administers) and (job is None or not sees_job(who, job)):
        raise past.no_such_job()


def _respond(frames: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(frames, media_type="text/event-stream", headers=HEADERS)
