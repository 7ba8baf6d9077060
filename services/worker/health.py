"""`/livez`, `/readyz` and `/metrics` of a worker, for compose, Kubernetes and Prometheus.

Lives here: three answers. A worker serves nothing else, so there is no framework around it. Does not live here: what
ready means (`__main__`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.loopback import BrowserGuard
from shared.metrics import PATH, Registry

Reason = Callable[[], str | None]
"""Returns why the worker is not ready, None if it is."""


class _Server(uvicorn.Server):
    """The signals are the worker's: SIGTERM drains, and is not the server's to take."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def health_app(not_ready: Reason, registry: Registry) -> BrowserGuard:
    """Return the application."""

    async def livez(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "alive"})

    async def readyz(_request: Request) -> JSONResponse:
        reason = not_ready()
        if reason is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not_ready", "reason": reason}, 503, {"Retry-After": "1"})

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    routes = [Route("/livez", livez), Route("/readyz", readyz), Route(PATH, metrics)]
    return BrowserGuard(Starlette(routes=routes))


@asynccontextmanager
async def answering(host: str, port: int, not_ready: Reason, registry: Registry) -> AsyncIterator[None]:
    """Answer during the block; port 0: do not."""
    if not port:
        yield
        return
    config = uvicorn.Config(health_app(not_ready, registry), host=host, port=port, log_config=None, access_log=False)
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait({serving})
