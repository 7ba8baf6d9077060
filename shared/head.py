"""HEAD of everything that GET answers: the same head, no body.

Lives here: the middleware, around the routes of every service. A route that answers HEAD itself has a line of its own
in its service's table (`shared.access.rules`), and is asked as it is.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.access.rules import Rules


class HeadAsGet:
    """ASGI middleware around the routes. An answered request is a disconnected one, which ends endless streams."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or self._rules.own("HEAD", scope["path"]) is not None:
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
