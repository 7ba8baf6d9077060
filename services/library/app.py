"""The library's ASGI application.

Lives here: which routes there are and the headers that all of them share. Does not live here: any route.
"""

from collections.abc import Iterable
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from services.library.library import Library
from services.library.metrics import LibraryMetrics
from services.library.pages import routes as pages
from services.library.routes import events, files, health, jobs
from shared import metrics, problems
from shared.loopback import BrowserGuard

STATIC = Path(__file__).parent / "pages" / "static"


def create_app(library: Library, allowed_hosts: Iterable[str] = ()) -> FastAPI:
    """Return the application over a running library. `allowed_hosts` may be named besides loopback."""
    app = FastAPI(title="Dubline library", version="1", docs_url=None, redoc_url=None, openapi_url="/api/library.json")
    app.state.library = library
    app.add_middleware(BrowserGuard, allowed_hosts=allowed_hosts)
    problems.install(app)
    for router in (jobs.router, files.router, events.router, health.router, pages.router):
        app.include_router(router)
    measured = LibraryMetrics(library)
    metrics.install(app, measured.registry, measured.refresh)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app
