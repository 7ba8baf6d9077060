"""A refusal of a page, as a page: whoever refuses it, the guard before the routes included.

Lives here: the ASGI middleware around the library. Programs get what they always get, problem details. Does not live
here: the page (`rendering`), any refusal.
"""

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.library.pages.rendering import refusal
from shared.problems import Problem

PROBLEM_JSON = b"application/problem+json"
CARRIED = frozenset({b"retry-after", b"www-authenticate", b"allow"})
"""Headers of a refusal that a browser understands."""


class RefusalPages:
    """To be installed outermost, so that it sees who the guard found."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _wants_page(scope):
            await self._app(scope, receive, send)
            return
        refused: Message | None = None
        body = bytearray()

        async def held(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and _is_problem(message):
                refused = message
            elif refused is None:
                await send(message)
            else:
                body.extend(message.get("body", b""))

        await self._app(scope, receive, held)
        if refused is not None:
            await _page_of(scope, refused, bytes(body))(scope, receive, send)


def _wants_page(scope: Scope) -> bool:
    path: str = scope["path"]
    if scope["method"] not in ("GET", "HEAD") or not (path == "/" or path.startswith("/ui/")):
        return False
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


def _is_problem(message: Message) -> bool:
    return any(name == b"content-type" and value.startswith(PROBLEM_JSON) for name, value in message["headers"])


def _page_of(scope: Scope, refused: Message, body: bytes) -> ASGIApp:
    told = orjson.loads(body) if body else {}  # HEAD has none
    response = refusal(scope, Problem(refused["status"], told.get("code", ""), told.get("detail", "")))
    response.raw_headers.extend(header for header in refused["headers"] if header[0] in CARRIED)
    return response
