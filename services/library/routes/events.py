"""GET /api/events and /api/jobs/{id}/events: the log over Server-Sent Events, with live progress between.

Lives here: one client's stream. Its event ids are sequences of the log, so `Last-Event-ID` resumes without gap or
duplicate: history comes from the log, what follows from the hub, and a client that fell behind goes back to the log.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from services.library.hub import Hub, Subscription, frame
from services.library.library import Library, get_job
from services.library.routes.jobs import NeedsLibrary
from shared.eventlog.port import LogUnavailableError
from shared.events.subjects import ALL_EVENTS, job_filter

HEARTBEAT_S = 15.0
"""Proxies close silent connections, often after 30 or 60 s."""

RECONNECT_MS = 2000

READ_AT_ONCE = 256

router = APIRouter(tags=["events"])

LastEventId = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, lt=1 << 62)]
After = Annotated[int | None, Query(ge=0, lt=1 << 62)]


@router.get("/api/events")
async def events(library: NeedsLibrary, last_event_id: LastEventId = None, after: After = None) -> StreamingResponse:
    """Every job's events after `Last-Event-ID` (or `after`); without either, from now on."""
    start = last_event_id if last_event_id is not None else after
    return _respond(library, None, library.hub.position if start is None else start)


@router.get("/api/jobs/{job_id}/events")
async def job_events(
    library: NeedsLibrary, job_id: str, last_event_id: LastEventId = None, after: After = None
) -> StreamingResponse:
    """One job's events after `Last-Event-ID` (or `after`); without either, all of them."""
    await get_job(library, job_id)
    start = last_event_id if last_event_id is not None else after
    return _respond(library, job_id, start or 0)


def _respond(library: Library, job_id: str | None, after: int) -> StreamingResponse:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream(library, job_id, after), media_type="text/event-stream", headers=headers)


async def stream(library: Library, job_id: str | None, after: int) -> AsyncIterator[bytes]:
    """Yield one client's frames until it goes or the service stops."""
    hub = library.hub
    subscription = hub.subscribe(job_id)
    try:
        yield b"retry: %d\n\n" % RECONNECT_MS
        sent = min(after, hub.position)  # a client of a log that is gone starts again at the end of this one
        subscription.behind = sent < hub.position
        while not subscription.closed:
            if subscription.behind:
                subscription.behind = False
                async for seq, wire in _history(library, hub, subscription, sent):
                    sent = seq
                    yield wire
            frames, progress = subscription.take()
            fresh = [item for item in frames if item.seq > sent]
            if fresh:
                sent = fresh[-1].seq
            if fresh or progress:
                yield b"".join([*(item.wire for item in fresh), *progress])
            elif not subscription.behind and not await _woken(subscription):
                yield b": still here\n\n"
    except LogUnavailableError:
        return  # the client comes again, with the id of the last event that it got
    finally:
        hub.unsubscribe(subscription)


async def _history(
    library: Library, hub: Hub, subscription: Subscription, after: int
) -> AsyncIterator[tuple[int, bytes]]:
    """Yield (sequence, frames) from the log, up to what the hub has handed on: jobs.db shows at least that."""
    subject = ALL_EVENTS if subscription.job_id is None else job_filter(subscription.job_id)
    until = hub.position
    while after < until:
        batch = await library.log.read(subject, after=after, limit=READ_AT_ONCE)
        if not batch:
            return
        wanted = [item for recorded in batch if recorded.seq <= until and (item := frame(recorded)) is not None]
        after = batch[-1].seq
        if wanted:
            yield wanted[-1].seq, b"".join(item.wire for item in wanted)


async def _woken(subscription: Subscription) -> bool:
    try:
        await asyncio.wait_for(subscription.wake.wait(), HEARTBEAT_S)
    except TimeoutError:
        return False
    return True
