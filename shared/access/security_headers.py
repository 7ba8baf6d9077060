"""What a browser is told besides an answer: what it must not do with it, and whether it may keep it.

Lives here: the ASGI middleware, outermost, so that errors are told so too. A header that the application has set itself
is left as it is. No value begins or ends with a space: strict parsers refuse such an answer (predecessor fault V3).
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

FILES = "/files/"
STATIC = "/static/"
"""The same for everybody: the one place whose answers a browser may keep as it likes."""

ALWAYS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
HSTS = "max-age=31536000"
"""A year (ASVS 3.4.1). Only over https; without subdomains, which are not ours to speak for."""
PAGE_POLICY = (
    "default-src 'self'; script-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
FILE_POLICY = "sandbox; default-src 'none'"
DATA_POLICY = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
"""Of what is no page, so that it is none either where a browser takes it for one."""

_ALWAYS = [(name.encode(), value.encode()) for name, value in ALWAYS.items()]
_HSTS = (b"strict-transport-security", HSTS.encode())
_NO_STORE = (b"cache-control", b"no-store")
_PAGE_POLICY = (b"content-security-policy", PAGE_POLICY.encode())
_FILE_POLICY = (b"content-security-policy", FILE_POLICY.encode())
_DATA_POLICY = (b"content-security-policy", DATA_POLICY.encode())


class SecurityHeaders:
    """ASGI middleware around a whole service."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                message = {**message, "headers": [*headers, *_missing(scope, dict(headers))]}
            await send(message)

        await self._app(scope, receive, send_told)


def _missing(scope: Scope, has: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Return the headers that an answer lacks."""
    path: str = scope["path"]
    added = [each for each in _ALWAYS if each[0] not in has]
    if scope["scheme"] == "https":
        added.append(_HSTS)
    if b"cache-control" not in has and not path.startswith(STATIC):
        added.append(_NO_STORE)
    if b"content-security-policy" not in has:
        if path.startswith(FILES):
            added.append(_FILE_POLICY)
        elif has.get(b"content-type", b"").startswith(b"text/html"):
            added.append(_PAGE_POLICY)
        elif not path.startswith(STATIC):
            added.append(_DATA_POLICY)
    return added
