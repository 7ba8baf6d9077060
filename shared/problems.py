"""Errors over HTTP: RFC 9457 problem JSON, the same shape from every service.

Lives here: the exception and its handlers. Does not live here: which request is wrong (the services decide).
"""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

CONTENT_TYPE = "application/problem+json"
TYPE_BASE = "urn:dubline:problem:"

log = structlog.get_logger()


class Problem(Exception):  # noqa: N818 -- the term of RFC 9457
    """A refusal with a status, a stable `code`, and a sentence that says what to do."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers
        self.extra = extra

    @property
    def body(self) -> dict[str, Any]:
        """The problem document."""
        return {
            "type": TYPE_BASE + self.code,
            "title": self.code.replace("_", " "),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.extra,
        }

    def response(self) -> JSONResponse:
        """Return the problem as a response."""
        return JSONResponse(self.body, self.status, self.headers, CONTENT_TYPE)


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

    async def on_crash(request: Request, error: Exception) -> JSONResponse:
        log.error("unhandled", path=request.url.path, error=type(error).__name__, exc_info=error)
        return Problem(500, "internal_error", "The service failed; its log says more.").response()

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(Exception, on_crash)
