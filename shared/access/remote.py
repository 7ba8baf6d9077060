"""From where people may come in at all: REMOTE_ACCESS_MODE, before anybody is asked who they are.

Lives here: the networks of each mode, and the ASGI middleware. `off` asks nothing of the address, and does not look at
ALLOWED_SUBNETS (as the predecessor); `tailscale` lets in this machine, private networks and the tailnet; `cloudflare`
wants, besides, the word of Cloudflare Access for every request (`cloudflare`). ALLOWED_SUBNETS takes the place of the
networks. A mode is about who comes from outside: a program of this machine that asks a service itself, and shows this
machine's own key, is let in by each.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from shared.access.client_address import Network, from_this_machine, networks, parsed, within
from shared.access.credentials import API_KEY_HEADER, digest
from shared.access.current import ADDRESS
from shared.access.resolution import AccessUnavailableError
from shared.problems import Problem

PRIVATE = "127.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, ::1/128, fc00::/7"
"""Loopback, RFC 1918, carrier-grade NAT, where tailnets live, and unique local addresses: the predecessor's."""

EXEMPT = frozenset({"/livez", "/readyz", "/internal/credentials"})
"""What supervisors and the services themselves ask; the gateway passes none of the last on."""

ASSERTION = b"cf-access-jwt-assertion"
_API_KEY = API_KEY_HEADER.encode()


class Assertions(Protocol):
    """Who checks what Cloudflare Access says of a request."""

    async def valid(self, assertion: str) -> bool:
        """Return whether it lets this request in. Raises AccessUnavailableError if its keys cannot be had."""
        ...


class RemoteAccess:
    """ASGI middleware. `allowed` is empty where the address does not matter."""

    def __init__(
        self,
        app: ASGIApp,
        allowed: Sequence[Network],
        assertions: Assertions | None,
        is_local_key: Callable[[str], bool],
    ) -> None:
        """`is_local_key`: whether a digest is that of this machine's own key."""
        self._app = app
        self._allowed = allowed
        self._assertions = assertions
        self._is_local_key = is_local_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope["path"] not in EXEMPT:
            problem = await self._refusal(scope)
            if problem is not None:
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Problem | None:
        if self._is_operator(scope):
            return None
        if self._allowed:
            address = parsed(scope[ADDRESS])
            if address is None or not within(address, self._allowed):
                return Problem(403, "address_not_allowed", "Nobody may come in from this address.")
        if self._assertions is not None:
            shown = next((value for name, value in scope["headers"] if name == ASSERTION), b"")
            try:
                valid = bool(shown) and await self._assertions.valid(shown.decode("latin-1"))
            except AccessUnavailableError:
                detail = "The keys of Cloudflare Access cannot be had now. Try again in a moment."
                return Problem(503, "access_unavailable", detail, headers={"Retry-After": "5"})
            if not valid:
                return Problem(403, "access_jwt_invalid", "Come in through Cloudflare Access, and sign in there first.")
        return None

    def _is_operator(self, scope: Scope) -> bool:
        """This machine's command line (`services.standalone.direct`), and its supervisor, which waits for a worker."""
        if not from_this_machine(scope):
            return False
        key = next((value for name, value in scope["headers"] if name == _API_KEY), None)
        return key is not None and self._is_local_key(digest(key.decode("latin-1")))


def allowed_networks(mode: str, allowed: str) -> tuple[Network, ...]:
    """Return from where a mode lets in, empty for everywhere."""
    return () if mode == "off" else networks(allowed or PRIVATE)
