"""Asking ingest whose a credential is: over the bus, over HTTP while the broker is away.

Lives here: what is remembered, for how long, and forgetting at once. Does not live here: answering
(`services.ingest.accounts.resolver`), deciding (`guard`).

An answer of the bus is believed for five seconds because a revocation would be heard there; any other for one. What was
remembered over one connection to the broker is not believed over the next: a revocation may have been missed between.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import ValidationError

from shared.access.client_address import GATEWAY_HEADER
from shared.access.principal import Principal
from shared.access.resolution import AccessUnavailableError, ResolveAnswer, ResolveRequest, Revoked
from shared.eventlog.port import LogUnavailableError
from shared.events.subjects import AUTH_RESOLVE, AUTH_REVOKED

REMEMBERED_S = 5.0
UNHEARD_S = 1.0
"""How long an answer is believed that is negative, or that no revocation would be heard of."""
REMEMBERED = 4096
"""Credentials; many more than people use at once, few enough for a flood of made-up ones."""
BUS_TIMEOUT_S = 0.5
"""Ingest answers in a few milliseconds; a broker that is silent for so long is not waited for."""
HTTP_TIMEOUT_S = 1.0
ATTEMPTS = 3
"""An answer about somebody who was revoked while it was on its way is asked for again."""
CREDENTIALS_PATH = "/internal/credentials"

log = structlog.get_logger()


class _Memory:
    """A bounded number of answers, each believed until its time."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Principal | None, float]] = {}

    def get(self, digest: str) -> tuple[Principal | None, float] | None:
        found = self._kept.get(digest)
        return found if found is not None and found[1] > time.monotonic() else None

    def put(self, digest: str, principal: Principal | None, seconds: float) -> None:
        self._kept.pop(digest, None)
        if len(self._kept) >= REMEMBERED:
            del self._kept[next(iter(self._kept))]  # the oldest
        self._kept[digest] = (principal, time.monotonic() + seconds)

    def forget(self, revoked: Revoked) -> None:
        self._kept = {
            digest: kept
            for digest, kept in self._kept.items()
            if kept[0] is None or not revoked.concerns(kept[0], digest)
        }

    def clear(self) -> None:
        self._kept.clear()


class BusResolver:
    """A resolver for the services that have no accounts, on their event loop."""

    def __init__(self, client: Callable[[], Client], ingest_url: str, gateway_token: str) -> None:
        """`client` returns the connection to the broker, and raises LogUnavailableError while there is none.

        `ingest_url`: where ingest answers HTTP; `gateway_token`: the word that it asks for there.
        """
        self._client = client
        self._http = httpx.AsyncClient(
            base_url=ingest_url,
            timeout=HTTP_TIMEOUT_S,
            trust_env=False,
            # Ingest serves loopback names whatever its own is in a container network.
            headers={GATEWAY_HEADER: gateway_token, "Host": "localhost"},
        )
        self._known = _Memory()
        self._unknown = _Memory()
        """Apart, so that a flood of made-up credentials pushes no real one out."""
        self._asking: dict[str, asyncio.Task[Principal | None]] = {}
        self._heard: dict[str, list[Revoked]] = {}
        """What was revoked while the answer about a digest was on its way."""
        self._listeners: list[Callable[[Revoked], None]] = []
        self._subscribed: Client | None = None
        self._subscribing = asyncio.Lock()
        self._line = -1

    def listen(self, callback: Callable[[Revoked], None]) -> None:
        """Call back on each revocation, on the event loop."""
        self._listeners.append(callback)

    async def resolve(self, digest: str) -> Principal | None:
        """Return whose credential this is, None if nobody's. Raises AccessUnavailableError."""
        if (line := self._current_line()) != self._line:
            self._line = line
            self._known.clear()
        if (found := self._known.get(digest) or self._unknown.get(digest)) is not None:
            return found[0]
        asking = self._asking.get(digest)
        if asking is None:
            asking = asyncio.create_task(self._ask(digest))
            self._asking[digest] = asking
            asking.add_done_callback(lambda done: self._asked(digest, done))
        return await asyncio.shield(asking)

    async def close(self) -> None:
        """Give back the connections over HTTP."""
        await self._http.aclose()

    def _asked(self, digest: str, done: asyncio.Task[Principal | None]) -> None:
        del self._asking[digest]
        if not done.cancelled():
            done.exception()  # whoever asked has it; nobody may be left who does

    def _current_line(self) -> int:
        """Return which connection to the broker this is, negative while there is none that is listened on."""
        client = self._subscribed
        return int(client.stats["reconnects"]) if client is not None and client.is_connected else -1

    async def _ask(self, digest: str) -> Principal | None:
        request = ResolveRequest(digest=digest).model_dump_json().encode()
        for _ in range(ATTEMPTS):
            heard = self._heard[digest] = []
            try:
                principal, seconds = await self._answer(request)
            finally:
                del self._heard[digest]
            if principal is None:
                self._unknown.put(digest, None, UNHEARD_S)
                return None
            if not any(revoked.concerns(principal, digest) for revoked in heard):
                self._known.put(digest, principal, min(seconds, _seconds_left(principal)))
                return principal
        raise AccessUnavailableError("revoked again and again while it was asked about")

    async def _answer(self, request: bytes) -> tuple[Principal | None, float]:
        """Return whose it is and for how long that may be believed."""
        try:
            return await self._over_bus(request)
        except (LogUnavailableError, NatsError, TimeoutError, ValidationError):
            return await self._over_http(request), UNHEARD_S

    async def _over_bus(self, request: bytes) -> tuple[Principal | None, float]:
        client = self._client()
        if not client.is_connected:
            raise LogUnavailableError("not connected to the broker")
        async with self._subscribing:
            if self._subscribed is not client:
                # The broker takes this before the request below: what is revoked after the answer is heard.
                await client.subscribe(AUTH_REVOKED, cb=self._on_revoked)
                self._subscribed = client
                self._line = self._current_line()
        line = self._current_line()
        message = await client.request(AUTH_RESOLVE, request, timeout=BUS_TIMEOUT_S)
        principal = ResolveAnswer.model_validate_json(message.data).principal
        return principal, REMEMBERED_S if line == self._current_line() else UNHEARD_S

    async def _over_http(self, request: bytes) -> Principal | None:
        try:
            answer = await self._http.post(
                CREDENTIALS_PATH, content=request, headers={"Content-Type": "application/json"}
            )
            return ResolveAnswer.model_validate_json(answer.raise_for_status().content).principal
        except (httpx.HTTPError, ValidationError) as error:
            log.warning("credentials_unresolved", error=type(error).__name__)
            raise AccessUnavailableError("neither the bus nor ingest answers") from error

    async def _on_revoked(self, message: Msg) -> None:
        try:
            revoked = Revoked.model_validate_json(message.data)
        except ValidationError:
            log.warning("revocation_undecodable")
            self._known.clear()
            return
        self._known.forget(revoked)
        for heard in self._heard.values():
            heard.append(revoked)
        for callback in self._listeners:
            callback(revoked)


def _seconds_left(principal: Principal) -> float:
    if principal.expires_at is None:
        return REMEMBERED_S
    return (principal.expires_at - datetime.now(UTC)).total_seconds()
