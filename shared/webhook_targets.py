"""Where a webhook may go: the syntax of its URL, and the addresses that its host has now.

Lives here: the check that keeps a user's URL away from this machine, its network and the cloud's metadata. It is made
when a webhook is saved and again at every attempt, and whoever connects uses the addresses that were checked: a name
that answers differently the next time (DNS rebinding) gains nothing. Does not live here: connecting.
"""

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import httpx

from shared.webhooks import URL_MAX_CHARS

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to numeric addresses. Raises OSError, UnicodeError."""

DEFAULT_PORTS = {"http": 80, "https": 443}

_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
"""The IANA registry of special addresses; written out, because `is_global` changed between patch releases of Python."""
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6 = tuple(ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
"""Inside 2000::/3: protocol assignments with Teredo, documentation, 6to4, documentation."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = 0x5EFE
_UNIVERSAL = 0x0200 << 16
"""A bit that an ISATAP interface's identifier may have or not."""
_HTTPS_NEEDED = "Use https. WEBHOOK_ALLOW_HTTP=1 allows plain http to public addresses."


class TargetRefusedError(ValueError):
    """A webhook may not go there; the message says why."""


class UnresolvedError(TargetRefusedError):
    """The host has no address now; it may have one later."""


@dataclass(frozen=True)
class Rules:
    """What an installation allows beyond public addresses over https."""

    allowed: tuple[Network, ...] = ()
    allow_http: bool = False

    @classmethod
    def parse(cls, cidrs: str, *, allow_http: bool = False) -> "Rules":
        """Return the rules of WEBHOOK_ALLOW_CIDRS and WEBHOOK_ALLOW_HTTP. Raises ValueError for what is no network."""
        return cls(tuple(ipaddress.ip_network(name) for name in cidrs.replace(",", " ").split()), allow_http)


@dataclass(frozen=True)
class Target:
    """A URL taken apart by the parser that also sends it: what is checked is what is used."""

    url: httpx.URL
    host: str
    port: int

    @property
    def host_header(self) -> str:
        return self.url.netloc.decode("ascii")


def parse_target(raw: str) -> Target:
    """Return the parts of a webhook's URL. Raises TargetRefusedError."""
    if len(raw) > URL_MAX_CHARS:
        raise TargetRefusedError(f"The URL is longer than {URL_MAX_CHARS} characters.")
    if not raw.isprintable() or " " in raw or "\\" in raw:
        raise TargetRefusedError("The URL has blanks, control characters or backslashes.")
    try:
        url = httpx.URL(raw)
        host = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise TargetRefusedError("This is not a URL.") from error
    if url.scheme not in DEFAULT_PORTS:
        raise TargetRefusedError("A webhook's URL begins with https:// (or http://, where that is allowed).")
    if url.userinfo:
        raise TargetRefusedError("The URL has a user name or password; deliveries are signed instead.")
    if not host:
        raise TargetRefusedError("The URL names no host.")
    if url.port is not None and not 0 < url.port < 65536:
        raise TargetRefusedError("The URL's port is not one from 1 to 65535.")
    return Target(url.copy_with(fragment=None), host, url.port or DEFAULT_PORTS[url.scheme])


def is_public(address: Address) -> bool:
    """Return whether an address is one of the public internet, also where it is wrapped in an IPv6 one."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    if (wrapped := _wrapped(address)) is not None:
        return is_public(wrapped)
    if address not in _GLOBAL_V6 or any(address in network for network in _REFUSED_V6):
        return False
    inner = _isatap(address)
    return inner is None or is_public(inner)


def _wrapped(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to this one really go to: IPv4-mapped, and NAT64's well-known prefix."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _isatap(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    marker = (int(address) >> 32) & 0xFFFFFFFF
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if marker & ~_UNIVERSAL == _ISATAP else None


def check_addresses(target: Target, addresses: Iterable[str], rules: Rules) -> list[str]:
    """Return the addresses that may be connected to, in their order. Raises TargetRefusedError if any may not.

    One bad address refuses all: a name that mixes public and private ones is an attack or a mistake.
    """
    found = list(dict.fromkeys(addresses))
    if not found:
        raise UnresolvedError("The host has no address.")
    for text in found:
        try:
            address: Address = ipaddress.ip_address(text)
        except ValueError as error:
            raise TargetRefusedError("The host has an address that cannot be read.") from error
        if isinstance(address, ipaddress.IPv6Address):
            address = _wrapped(address) or address
        if any(address in network for network in rules.allowed):
            continue
        if not is_public(address):
            raise TargetRefusedError(
                "The host has an address that is not public. WEBHOOK_ALLOW_CIDRS names networks that are allowed."
            )
        if target.url.scheme == "http" and not rules.allow_http:
            raise TargetRefusedError(_HTTPS_NEEDED)
    return found


async def resolve(host: str, port: int) -> list[str]:
    """Return the host's addresses as the system knows them. Raises OSError, UnicodeError.

    In a thread of its own: a resolver that hangs must hold up neither the pool that files are read in, nor the
    process's end.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def settle(addresses: list[str], error: Exception | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(addresses)
        else:
            answer.set_exception(error)

    def look_up() -> None:
        addresses: list[str] = []
        failed: Exception | None = None
        try:
            addresses = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as error:
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile: nobody waits
            loop.call_soon_threadsafe(settle, addresses, failed)

    threading.Thread(target=look_up, name="webhook-dns", daemon=True).start()
    return await answer


async def checked_target(raw: str, rules: Rules, resolver: Resolver = resolve) -> tuple[Target, list[str]]:
    """Return a URL's parts and the addresses to connect to. Raises TargetRefusedError, UnresolvedError."""
    target = parse_target(raw)
    try:
        addresses = await resolver(target.host, target.port)
    except (OSError, UnicodeError) as error:
        if target.url.scheme == "http" and not rules.allow_http:
            raise TargetRefusedError(_HTTPS_NEEDED) from error
        raise UnresolvedError("The host's name does not resolve.") from error
    return target, check_addresses(target, addresses, rules)
