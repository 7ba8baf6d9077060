"""What holds for every route: bodies of a few kilobytes.

Lives here: the middleware. Does not live here: uploads, which have limits of their own (`routes`).
"""

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.problems import Problem

BODY_MAX_BYTES = 64 << 10
STREAMED = re.compile(
    r"POST /api/jobs(?:/batch|/estimate)?"
    r"|POST /api/uploads/tus|PATCH /api/uploads/tus/[^/]+|POST /api/uploads/[^/]+/chunk"
)
"""These read their bodies themselves, piece by piece."""


class SmallBodies:
    """ASGI middleware: read the body before the application does, and refuse a large one unread."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or STREAMED.fullmatch(f"{scope['method']} {scope['path']}"):
            await self._app(scope, receive, send)
            return
        size = 0
        read: list[Message] = []
        while not read or (read[-1]["type"] == "http.request" and read[-1].get("more_body", False)):
            read.append(await receive())
            size += len(read[-1].get("body", b""))
            if size > BODY_MAX_BYTES:
                detail = f"The body is larger than {BODY_MAX_BYTES} bytes. Nothing here needs so much."
                await Problem(413, "body_too_large", detail).response()(scope, receive, send)
                return
        waiting = iter(read)

        async def replay() -> Message:
            message = next(waiting, None)
            return await receive() if message is None else message

        await self._app(scope, replay, send)
