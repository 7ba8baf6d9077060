"""Errors over HTTP: RFC 9457 problem JSON, the same shape from every service.

Lives here: the exception and its document. Does not live here: who answers with it (`shared.problem_handlers`), and
which request is wrong (the services decide). Needs no FastAPI, because the command line imports it.
"""

from typing import Any

from starlette.responses import JSONResponse

CONTENT_TYPE = "application/problem+json"
TYPE_BASE = "urn:dubline:problem:"


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
