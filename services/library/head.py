"""HEAD of everything that GET answers: the same head, no body.

Lives here: the middleware. `/files/` answers HEAD itself, because ranges are defined for GET only (RFC 9110, 14.2).
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

FILES = "/files/"


class HeadAsGet:
    """ASGI middleware around the routes. An answered request is a disconnected one, which ends endless streams."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].startswith(FILES):
            await self._app(scope, receive, send)
            return
        answered = False

        async def send_head(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                await send(message)
            elif not answered:
                answered = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app({**scope, "method": "GET"}, receive, send_head)
