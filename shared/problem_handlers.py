"""Every error of a FastAPI application as a problem document.

Lives here: the handlers. Does not live here: the document (`shared.problems`).
"""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from shared.problems import Problem

CLIENT_GONE = 499
"""nginx's status for a client that left before its answer; nobody reads it."""

log = structlog.get_logger()


def install(app: FastAPI) -> None:
    """Answer every error of this application with a problem document."""

    async def on_problem(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)
        return error.response()

    async def on_http(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers) if error.headers else None
        return Problem(error.status_code, f"http_{error.status_code}", str(error.detail), headers=headers).response()

    async def on_validation(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        errors = [{"where": ".".join(map(str, e["loc"])), "what": e["msg"]} for e in error.errors()]
        detail = "; ".join(f"{e['where']}: {e['what']}" for e in errors)
        return Problem(422, "invalid_request", detail, errors=errors).response()

    async def on_gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=CLIENT_GONE)

    async def on_crash(request: Request, error: Exception) -> JSONResponse:
        log.error("unhandled", path=request.url.path, error=type(error).__name__, exc_info=error)
        return Problem(500, "internal_error", "The service failed; its log says more.").response()

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(ClientDisconnect, on_gone)
    app.add_exception_handler(Exception, on_crash)
