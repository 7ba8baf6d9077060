"""The ingest application: every write that comes over HTTP.

Lives here: assembly and lifetime. Does not live here: routes (`routes`), the process (`__main__`).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from services.ingest import guards
from services.ingest.access import TABLE
from services.ingest.accounts.accounts import open_accounts
from services.ingest.admission import check_admission
from services.ingest.bus import Bus, unavailable
from services.ingest.intents import sweep_for_ever
from services.ingest.metrics import IngestMetrics
from services.ingest.projects import Projects
from services.ingest.routes import (
    audit,
    auth,
    batch,
    control,
    credentials,
    curation,
    estimate,
    factors,
    health,
    input_files,
    invites,
    jobs,
    keys,
    languages,
    oidc,
    presets,
    profiles,
    projects,
    proving,
    qr,
    resets,
    runtime,
    sessions,
    setup,
    tokens,
    tus,
    uploads,
    users,
    webhooks,
)
from services.ingest.routes import (
    settings as user_settings,
)
from services.ingest.routes.context import Service
from services.ingest.settings import IngestSettings
from services.ingest.submission import Submissions
from services.ingest.uploads.sealed import media_of
from services.ingest.uploads.store import Store
from services.ingest.uploads.uploads import Uploads
from services.ingest.workers import Workers
from shared import metrics, openapi, problem_handlers, tracing
from shared.access.front import Front
from shared.eventlog.port import LogUnavailableError
from shared.sealing.keys import vault_of
from shared.secret_files import derived_key, read_secret


def create_app(settings: IngestSettings) -> FastAPI:
    """Return the application. It starts, and refuses writes, while the broker is away."""
    bus = Bus(settings)
    accounts = open_accounts(settings, bus)
    front = Front.of(settings, accounts.resolver)
    accounts.revocations.listen(front.running.end)
    workers = Workers(bus)
    measured = IngestMetrics(settings.layout, lambda: bus.connected)
    store = Store(settings.layout, media_of(vault_of(settings)), settings.min_free_bytes)
    received = Uploads(settings, lambda: bus.log, store, partial(check_admission, bus), measured.registry)
    names_key = derived_key(read_secret(settings.layout.auth_key), "names of private videos")
    submissions = Submissions(settings, bus, workers, measured, received.promised, names_key)
    service = Service(settings, bus, workers, submissions, Projects(settings.layout), accounts, received)

    @asynccontextmanager
    async def lifetime(_app: FastAPI) -> AsyncIterator[None]:
        tracing.configure("ingest")
        await accounts.start()
        await asyncio.to_thread(received.load)
        tasks = [asyncio.create_task(bus.connect()), asyncio.create_task(sweep_for_ever(settings.layout, bus))]
        tasks.append(asyncio.create_task(received.sweep_for_ever()))
        yield
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await accounts.close()
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
    problem_handlers.install(app)
    app.add_exception_handler(LogUnavailableError, _log_unavailable)
    groups = (
        *(auth, proving, sessions, users, invites, setup, resets),
        *(factors, qr, oidc),
        *(tokens, keys, audit, credentials),
        *(tus, uploads, input_files),  # tus before the ids that its path looks like
        *(jobs, batch, estimate, control, curation, webhooks, languages, runtime, health),
        *(projects, profiles, presets, user_settings),
    )
    for group in groups:
        app.include_router(group.router)
    metrics.install(app, measured.registry)
    openapi.install(app)
    front.install(app, TABLE)
    return app


async def _log_unavailable(_request: Request, _error: Exception) -> JSONResponse:
    return unavailable().response()
