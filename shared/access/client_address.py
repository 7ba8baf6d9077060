"""Where a request comes from: its client's address, and whether it was encrypted on the way.

Lives here: the ASGI middleware, and telling what was passed on from what asks by itself. The peer of the socket is
believed; what others say (X-Forwarded-For and -Proto) only from the gateway, which shows a word that nobody else knows.
Does not live here: who may come in (`remote`).
"""

import hmac
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

from shared.access.current import ADDRESS

GATEWAY_HEADER = "X-Dubline-Gateway"

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_GATEWAY = GATEWAY_HEADER.lower().encode()
_FORWARDED_FOR = b"x-forwarded-for"
_FORWARDED_PROTO = b"x-forwarded-proto"
_PASSED_ON = frozenset(
    {b"forwarded", _FORWARDED_FOR, b"x-forwarded-host", _FORWARDED_PROTO, b"x-real-ip", b"via", b"cf-connecting-ip"}
)
"""The gateway sets some of these on all that it passes on, and so do other proxies."""


def networks(names: str) -> tuple[Network, ...]:
    """Return the networks of a setting, separated by commas or spaces. Raises ValueError."""
    return tuple(ip_network(name) for name in names.replace(",", " ").split())


def within(address: Address, among: Sequence[Network]) -> bool:
    return any(address in network for network in among)


def parsed(text: str) -> Address | None:
    """Return an address, an IPv4 one that is written as IPv6 as itself; None if it is none."""
    try:
        address = ip_address(text.strip().strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class ClientAddress:
    """ASGI middleware: sets `dubline.address`, and the scheme that the client used."""

    def __init__(self, app: ASGIApp, gateway_token: str, trusted: Sequence[Network] = ()) -> None:
        """`trusted`: proxies before the gateway; their own addresses are no client's."""
        self._app = app
        self._token = gateway_token.encode()
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope[ADDRESS] = scope["client"][0] if scope.get("client") else ""
            if through_gateway(scope, self._token):
                scope[ADDRESS] = self._forwarded(scope) or scope[ADDRESS]
                if any(name == _FORWARDED_PROTO and value == b"https" for name, value in scope["headers"]):
                    scope["scheme"] = "wss" if scope["type"] == "websocket" else "https"
        await self._app(scope, receive, send)

    def _forwarded(self, scope: Scope) -> str:
        """Return the address nearest to the gateway that no trusted proxy has; empty if nothing sensible is said."""
        values = [value.decode("latin-1") for name, value in scope["headers"] if name == _FORWARDED_FOR]
        nearest = ""
        for element in reversed(",".join(values).split(",")):
            address = parsed(element)
            if address is None:
                break
            nearest = str(address)
            if not within(address, self._trusted):
                break
        return nearest


def through_gateway(scope: Scope, token: bytes) -> bool:
    """Return whether the gateway sent this request. It writes its word over whatever a client sent."""
    shown = [value for name, value in scope["headers"] if name == _GATEWAY]
    return bool(token) and len(shown) == 1 and hmac.compare_digest(shown[0], token)


def passed_on(scope: Scope) -> bool:
    """Return whether some proxy says that it passed this request on."""
    return any(name in _PASSED_ON for name, _ in scope["headers"])


def from_this_machine(scope: Scope) -> bool:
    """Return whether a program of this machine asks the service itself.

    Proxies of this machine are on loopback too: what any of them passed on, the gateway among them, is from elsewhere.
    """
    peer = parsed(scope["client"][0]) if scope.get("client") else None
    by_gateway = any(name == _GATEWAY for name, _ in scope["headers"])
    return peer is not None and peer.is_loopback and not by_gateway and not passed_on(scope)
