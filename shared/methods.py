"""A 405 that names all methods of its address, the same from every service (RFC 9110, 15.5.6).

Lives here: the handler. Starlette itself names those of the first route that fits, and an address may have several.
"""

from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.routing import BaseRoute, Match, Route

from shared.problems import Problem


def install(app: FastAPI, routes: Sequence[BaseRoute], *, head_as_get: bool = False) -> None:
    """Name every method that one of `routes` has for the address. `head_as_get`: what answers GET answers HEAD."""

    async def on_wrong_method(request: Request, _error: Exception) -> JSONResponse:
        found = [route for route in routes if isinstance(route, Route)]
        matching = [route for route in found if route.matches(request.scope)[0] is not Match.NONE]
        methods = {method for route in matching for method in route.methods or ()}
        if head_as_get and "GET" in methods:
            methods.add("HEAD")
        allowed = ", ".join(sorted(methods))
        detail = f"This address takes {allowed}, not {request.method}."
        return Problem(405, "http_405", detail, headers={"Allow": allowed}).response()

    app.add_exception_handler(405, on_wrong_method)
