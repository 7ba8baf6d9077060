"""The ingest application: every write that comes over HTTP.

Lives here: assembly and lifetime. Does not live here: routes (`routes`), the process (`__main__`).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from services.ingest import guards
from services.ingest.bus import Bus, unavailable
from services.ingest.intents import sweep_for_ever
from services.ingest.metrics import IngestMetrics
from services.ingest.projects import Projects
from services.ingest.routes import control, curation, health, jobs, languages, presets, projects, runtime, webhooks
from services.ingest.routes.context import Service
from services.ingest.settings import IngestSettings
from services.ingest.submission import Submissions
from services.ingest.workers import Workers
from shared import methods, metrics, openapi, problems, tracing
from shared.eventlog.port import LogUnavailableError
from shared.loopback import BrowserGuard


def create_app(settings: IngestSettings) -> FastAPI:
    """Return the application. It starts, and refuses writes, while the broker is away."""
    bus = Bus(settings)
    workers = Workers(bus)
    measured = IngestMetrics(settings.layout, lambda: bus.connected)
    submissions = Submissions(settings, bus, workers, measured)
    service = Service(settings, bus, workers, submissions, Projects(settings.layout))

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
    app.add_middleware(guards.SmallBodies)
    app.add_middleware(BrowserGuard, allowed_hosts=settings.allowed_host_names)
    problems.install(app)
    app.add_exception_handler(LogUnavailableError, _log_unavailable)
    groups = (jobs, control, curation, projects, presets, webhooks, languages, runtime, health)
    for group in groups:
        app.include_router(group.router)
    metrics.install(app, measured.registry)
    methods.install(app, [*app.routes, *(route for group in groups for route in group.router.routes)])
    openapi.install(app)
    return app


async def _log_unavailable(_request: Request, _error: Exception) -> JSONResponse:
    return unavailable().response()
