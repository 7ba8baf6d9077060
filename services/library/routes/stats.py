"""GET /api/library/stats: how much there is, and how far jobs.db is behind the log.

Lives here: that answer. Does not live here: whether the service is ready (`health`), metrics.
"""

import asyncio
from typing import Any

from fastapi import APIRouter

from services.library.jobstore.filters import JobFilter
from services.library.jobstore.queries import read_counts, read_quarantined
from services.library.library import Library
from services.library.readers import reader_of
from services.library.routes import examples
from services.library.routes.documents import Stats
from services.library.routes.jobs import NeedsLibrary
from shared.access.current import Who
from shared.eventlog.port import LogUnavailableError

ANSWER_TIMEOUT_S = 2.0

router = APIRouter(tags=["library"])


async def lag_of(library: Library) -> int | None:
    """Return how many events jobs.db is behind the log; None while the broker is away."""
    if not library.connected():
        return None
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            last = await library.log.last()
    except (LogUnavailableError, TimeoutError):
        return None
    return max(0, (last.seq if last else 0) - library.hub.position)


@router.get(
    "/api/library/stats",
    response_model=Stats,
    summary="How much there is",
    responses={200: {"content": {"application/json": {"example": examples.STATS}}}},
)
async def stats(library: NeedsLibrary, who: Who) -> dict[str, Any]:
    """The jobs that you may see by state, without archived ones; the last sequence that is shown, and what it lacks."""
    wanted = JobFilter(reader=reader_of(who))
    counts = await library.reader.run(lambda connection: read_counts(connection, wanted))
    return {
        "counts": counts,
        "total": sum(counts.values()),
        "position": library.hub.position,
        "lag": await lag_of(library),
        "quarantined": await library.reader.run(read_quarantined) if who.administers else None,
    }
