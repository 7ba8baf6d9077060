"""GET /livez and /readyz. Lives here: what each of them means."""

import asyncio
from typing import Any

from fastapi import APIRouter, Response

from services.library.jobstore.reader import read_quarantined
from services.library.routes.jobs import NeedsLibrary
from shared.eventlog.port import LogUnavailableError

LAG_MAX = 1000
"""Events that jobs.db may be behind the log and still be worth reading: about a second of catching up."""

ANSWER_TIMEOUT_S = 2.0

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/readyz")
async def readyz(library: NeedsLibrary, response: Response) -> dict[str, Any]:
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
    return {
        "status": "ready" if ready else "not ready",
        "broker": library.connected(),
        "position": library.hub.position,
        "lag": lag,
        "quarantined": await library.reader.run(read_quarantined),
        "listeners": len(library.hub),
    }
