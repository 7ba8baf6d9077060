"""GET /livez and /readyz. Lives here: what each of them means."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Response

from services.library.jobstore.queries import read_quarantined
from services.library.routes.documents import Described
from services.library.routes.jobs import NeedsLibrary
from shared.eventlog.port import LogUnavailableError

LAG_MAX = 1000
"""Events that jobs.db may be behind the log and still be worth reading: about a second of catching up."""

ANSWER_TIMEOUT_S = 2.0

router = APIRouter(tags=["health"])


class Live(Described):
    status: Literal["alive"] = "alive"


class Readiness(Described):
    """`lag` in events, null while the broker is away; `listeners` are clients that follow."""

    status: Literal["ready", "not ready"]
    broker: bool
    position: int
    lag: int | None
    quarantined: int
    listeners: int


@router.get("/livez", summary="Whether the process answers")
async def livez() -> Live:
    """The process answers."""
    return Live()


@router.get(
    "/readyz",
    summary="Whether it follows the log",
    responses={503: {"model": Readiness, "description": "The broker is away, or jobs.db is behind."}},
)
async def readyz(library: NeedsLibrary, response: Response) -> Readiness:
    """The broker is reachable and jobs.db is near the end of the log; 503 otherwise, with the same members."""
    lag: int | None = None
    if library.connected():
        try:
            last = await asyncio.wait_for(library.log.last(), ANSWER_TIMEOUT_S)
            lag = max(0, (last.seq if last else 0) - library.hub.position)
        except (LogUnavailableError, TimeoutError):
            lag = None
    ready = lag is not None and lag <= LAG_MAX
    response.status_code = 200 if ready else 503
    return Readiness(
        status="ready" if ready else "not ready",
        broker=library.connected(),
        position=library.hub.position,
        lag=lag,
        quarantined=await library.reader.run(read_quarantined),
        listeners=len(library.hub),
    )
