"""Which programs may talk to a service at all: those of this machine, and no web page of another site.

Lives here: the check of a listening address, and the middleware that every HTTP service mounts. Does not live here: who
asks (`shared.access`). Credentials do not make this needless: a browser sends them by itself. A service on loopback
is reachable by any page that the user opens: requests across sites are refused by `Sec-Fetch-Site` and `Origin` (as in
Go 1.25's CrossOriginProtection), and names that were re-bound to 127.0.0.1 by the `Host` header.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.problems import Problem

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITE = frozenset({"same-origin", "none"})
"""`none` is a request that the user made, for instance from the address bar."""

WEBSOCKET = "WEBSOCKET"
"""Stands for the method of a request to open a socket."""


class NotLoopbackError(Exception):
    """The service was told to listen where other machines could reach it."""


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine. A name such as `localhost.evil.org` is not."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_listen_address(host: str, *, allow_non_loopback: bool) -> None:
    """Raise NotLoopbackError if `host` is reachable from other machines and nothing isolates it."""
    if not (allow_non_loopback or is_loopback(host)):
        raise NotLoopbackError(
            f"{host} is not a loopback address. A service is reached through the gateway alone: use 127.0.0.1, or set "
            "DUBLINE_ALLOW_NON_LOOPBACK=1 where a container network keeps others out."
        )


def refusal(method: str, headers: Headers, allowed_hosts: frozenset[str]) -> Problem | None:
    """Return why this request is refused, or None."""
    host = headers.get("host", "")
    if not _is_served(host, allowed_hosts):
        detail = "This host name is not served here. Use http://127.0.0.1, or add the name to DUBLINE_ALLOWED_HOSTS."
        return Problem(403, "host_not_allowed", detail)
    if method in SAFE_METHODS:
        return None
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    foreign_site = site is not None and site not in OWN_SITE
    foreign_origin = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
    if foreign_site or foreign_origin:
        return Problem(403, "cross_site_request", "A web page of another site may not change anything here.")
    return None


@lru_cache(maxsize=256)
def _is_served(host: str, allowed_hosts: frozenset[str]) -> bool:
    """Clients send a few names again and again, and taking one apart costs more than the rest of the check."""
    name = _host_name(host)
    return is_loopback(name) or name in allowed_hosts


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


class BrowserGuard:
    """ASGI middleware around a whole service."""

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._allowed = frozenset(name.lower() for name in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            # A page of any origin may open a socket and read it: what only reads over HTTP is no safe method here.
            method = scope["method"] if scope["type"] == "http" else WEBSOCKET
            refused = refusal(method, Headers(scope=scope), self._allowed)
            if refused is not None:
                await refused.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)
