"""The library's ASGI application.

Lives here: which routes there are, in which order, and what stands around all of them. Does not live here: any route.
"""

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from services.library.access import TABLE
from services.library.lane import FilesLane, ListLane
from services.library.library import Library
from services.library.metrics import LibraryMetrics
from services.library.pages import routes as pages
from services.library.pages.refusals import RefusalPages
from services.library.routes import events, files, health, jobs, logs, outputs, projects, stats, webhooks, ws
from services.library.routes.documents import EVERYWHERE
from services.library.webhooks.dispatcher import Dispatcher
from shared import metrics, problem_handlers
from shared.access.front import Front

STATIC = Path(__file__).parent / "pages" / "static"

ROUTERS = (
    events.router,  # before the jobs: /api/jobs/events is no job's id
    jobs.router,
    outputs.router,
    logs.router,
    ws.router,
    projects.router,
    stats.router,
    webhooks.router,
    files.router,
    health.router,
    pages.router,
)


def create_app(library: Library, dispatcher: Dispatcher, front: Front, handoff_token: str = "") -> FastAPI:
    """Return the application over a running library; a gateway that shows `handoff_token` sends files itself."""
    app = FastAPI(
        title="Dubline library",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/library.json",
        responses=EVERYWHERE,
    )
    app.state.library = library
    app.state.webhooks = dispatcher
    app.state.handoff_token = handoff_token
    app.add_middleware(ListLane, library=library)
    app.add_middleware(FilesLane, library=library, token=handoff_token)
    problem_handlers.install(app)
    for router in ROUTERS:
        app.include_router(router)
    measured = LibraryMetrics(library, dispatcher)
    metrics.install(app, measured.registry, measured.refresh)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    front.install(app, TABLE)
    app.add_middleware(RefusalPages)
    return app
