"""The ingest application: every write that comes over HTTP.

Lives here: assembly and lifetime. Does not live here: routes (`routes`), the process (`__main__`).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from services.ingest.bus import Bus, unavailable
from services.ingest.intents import sweep_for_ever
from services.ingest.metrics import IngestMetrics
from services.ingest.routes import control, health, jobs, languages, runtime
from services.ingest.routes.context import Service
from services.ingest.settings import IngestSettings
from services.ingest.submission import Submissions
from services.ingest.workers import Workers
from shared import metrics, problems, tracing
from shared.eventlog.port import LogUnavailableError
from shared.loopback import BrowserGuard


def create_app(settings: IngestSettings) -> FastAPI:
    """Return the application. It starts, and refuses writes, while the broker is away."""
    bus = Bus(settings)
    workers = Workers(bus)
    measured = IngestMetrics(settings.layout, lambda: bus.connected)
    service = Service(settings, bus, workers, Submissions(settings, bus, workers, measured))

    @asynccontextmanager
    async def lifetime(_app: FastAPI) -> AsyncIterator[None]:
        tracing.configure("ingest")
        tasks = [asyncio.create_task(bus.connect()), asyncio.create_task(sweep_for_ever(settings.layout, bus))]
        yield
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await bus.close()
        await asyncio.to_thread(tracing.shutdown)

    app = FastAPI(
        title="Dubline ingest",
        summary="Submitting and controlling jobs",
        lifespan=lifetime,
        openapi_url="/api/ingest.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.add_middleware(BrowserGuard, allowed_hosts=settings.allowed_host_names)
    problems.install(app)
    app.add_exception_handler(LogUnavailableError, _log_unavailable)
    for group in (jobs, control, languages, runtime, health):
        app.include_router(group.router)
    metrics.install(app, measured.registry)
    return app


async def _log_unavailable(_request: Request, _error: Exception) -> JSONResponse:
    return unavailable().response()
