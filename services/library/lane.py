"""GET /api/jobs and /files/ without the framework: what open windows and players ask for again and again.

Lives here: the way from the request to the bytes. A list is answered if the query is well-formed; anything else goes on
to the route of the same path, which has the same model and the same read, and says what is wrong. Does not live here:
any of those (`routes.parameters`, `library`, `file_answers`).
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from services.library.answers import CONTENT_TYPE, HEADERS, unchanged
from services.library.file_answers import Asked, answer
from services.library.library import Library
from services.library.routes.parameters import parse_list_query
from shared.access.current import PRINCIPAL
from shared.problems import Problem

PATH = "/api/jobs"
FILES = "/files/"

_SAME = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_TYPED = [*_SAME, (b"content-type", CONTENT_TYPE.encode())]


class ListLane:
    """ASGI middleware around the routes: two thirds of the time of a request through them is the framework's."""

    def __init__(self, app: ASGIApp, library: Library) -> None:
        self._app = app
        self._library = library

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        try:
            query = parse_list_query(scope["query_string"])
        except ValueError:
            await self._app(scope, receive, send)
            return
        body, etag = await self._library.pages.read(query.page(scope[PRINCIPAL]))
        tag = (b"etag", etag.encode())
        if unchanged(_if_none_match(scope), etag):
            await send({"type": "http.response.start", "status": 304, "headers": [*_SAME, tag]})
            await send({"type": "http.response.body", "body": b""})
            return
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [*_TYPED, length, tag]})
        await send({"type": "http.response.body", "body": body})


class FilesLane:
    """ASGI middleware around the routes: what plays a video asks for range after range."""

    def __init__(self, app: ASGIApp, library: Library, token: str) -> None:
        self._app = app
        self._library = library
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or not scope["path"].startswith(FILES):
            await self._app(scope, receive, send)
            return
        headers = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        asked = Asked.of(scope["method"], scope["path"].removeprefix(FILES), headers, self._token, scope[PRINCIPAL])
        try:
            response = await answer(self._library, asked)
        except Problem as problem:
            response = problem.response()
        await response(scope, receive, send)


def _if_none_match(scope: Scope) -> str | None:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"if-none-match"]
    return ",".join(values) if values else None
