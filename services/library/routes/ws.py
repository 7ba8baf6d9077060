"""WebSocket /ws/jobs/{id}: a job's row at once and on each change, for clients of the interface before events.

Lives here: one socket. It says JSON text of the job as the list shows it, with live progress at most twice a second,
and hears nothing. Closing codes: 1008 there is no such job (any more), or none that this client may see, 1001 the
service stops, 1011 it failed.
Does not live here: pings (uvicorn's) and which pages may open a socket (`shared.loopback`).
"""

import asyncio
import contextlib

import structlog
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from services.library.follower import Follower, seen_row
from services.library.hub import Subscription
from services.library.library import Library, get_job
from shared.access.current import Who
from shared.access.principal import Principal
from shared.problems import Problem

NO_SUCH_JOB = 1008
GOING_AWAY = 1001
FAILED = 1011

log = structlog.get_logger()
router = APIRouter(tags=["events"])


@router.websocket("/ws/jobs/{job_id}")
async def job_socket(socket: WebSocket, who: Who, job_id: str) -> None:
    """Send until the client goes, the job does (for this client), or the service stops; a finished one may change."""
    library: Library = socket.app.state.library
    await socket.accept()
    with Follower(library, who, job_id, library.hub.position) as follower:
        listening = asyncio.create_task(_until_gone(socket, follower.subscription))
        try:
            code = await _send_rows(socket, library, who, job_id, follower)
        except WebSocketDisconnect:
            return
        except Exception as error:  # the client is told, whatever it was
            log.error("socket_failed", job_id=job_id, error=type(error).__name__, exc_info=error)
            code = FAILED
        finally:
            listening.cancel()
        with contextlib.suppress(WebSocketDisconnect):
            await socket.close(code)


async def _send_rows(socket: WebSocket, library: Library, who: Principal, job_id: str, follower: Follower) -> int:
    """Return the code to close with."""
    sent = b""
    while True:
        row = await seen_row(library, who, job_id)
        if not row:  # not yet, not any more, or another's
            try:
                await get_job(library, job_id, who)
            except Problem:
                return NO_SUCH_JOB
        elif row != sent:
            await socket.send_text(row.decode())
            sent = row
        if await follower.next() is None:
            return GOING_AWAY if follower.subscription.closed else NO_SUCH_JOB


async def _until_gone(socket: WebSocket, subscription: Subscription) -> None:
    """Read what the client says, which is nothing to us, and end its subscription with it."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
    subscription.close()
