"""Security events: who did what to whom, from where, and whether it was let happen.

Lives here: recording them, scrubbed, and getting them into the log whenever it is there. Does not live here: finding
them again (`audit_trail`), and what other processes recorded (`audit_outbox`). Callers give ids, counts and words of
their own; never what somebody typed, which may be a password in the wrong field (E8). What looks like a secret
nevertheless does not get through.
"""

import asyncio
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import structlog

from services.ingest.accounts import users
from services.ingest.accounts.client import Client
from services.ingest.history import SOURCE
from shared.eventlog.port import EventLog, LogUnavailableError
from shared.events.access import AuditRecorded, AuditRecordedData, Outcome
from shared.identity import LOCAL_OWNER, uuid7
from shared.problems import Problem

ANONYMOUS = "anonymous"
BUFFER_MAX = 10_000
"""Events that wait while the broker is away, some megabytes; each is in the service's own log file already."""
RETRY_S = 1.0
CLOSE_S = 2.0
VALUE_MAX = 200
REMOVED = "(removed)"

_ACTOR = re.compile(rf"{users.ID_PATTERN}|^({ANONYMOUS}|{LOCAL_OWNER})$")
"""It becomes a word of a subject, so it is one of ours and nobody's typing."""
_SECRET_NAME = re.compile(
    r"(^|_)(passwords?|secrets?|tokens?|totp|codes?|keys?|cookies?|authorization|csrf|text|transcript|lines?)$",
    re.IGNORECASE,
)
"""By their last word: `key_id` is none."""
_SECRET_VALUE = re.compile(r"\bdub[a-z]{0,6}_\w{16,}|[A-Za-z0-9_+/=-]{40,}")

log = structlog.get_logger()


class Audit:
    """`record` from any thread, the rest from one event loop, where `run` is a task."""

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._waiting: deque[AuditRecorded] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._more = asyncio.Event()
        self._none_waits = asyncio.Event()
        self._none_waits.set()

    def record(
        self,
        actor: str,
        action: str,
        *,
        outcome: Outcome = "succeeded",
        about: str = "",
        client: Client | None = None,
        **detail: str | int | bool | None,
    ) -> None:
        """Write one event down; never waits and never raises. `actor` is a user's id, `local` or `anonymous`."""
        try:
            event = event_of(actor, action, outcome, about, client or Client(), detail)
            told = event.data.model_dump(exclude={"detail"}) | {"detail": event.data.detail}
            log.info("audit", actor=event.subject, **told)
            if len(self._waiting) >= BUFFER_MAX:
                log.error("audit_event_dropped", event_id=self._waiting.popleft().id)
            self._waiting.append(event)
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._wake)
        except Exception as error:  # noqa: BLE001 -- a sign-in must not fail because it could not be written down
            log.error("audit_failed", action=action, error=type(error).__name__)

    @contextmanager
    def refusals(
        self, actor: str, action: str, *, about: str = "", client: Client, **detail: str | int | bool | None
    ) -> Iterator[None]:
        """Write down that the block ended with a Problem, with its code for a reason, and let it through."""
        try:
            yield
        except Problem as refusal:
            known: dict[str, Any] = detail | {"reason": refusal.code}
            self.record(actor, action, outcome="failed", about=about, client=client, **known)
            raise

    async def run(self) -> None:
        """Append what is recorded, for ever, in its order."""
        self._loop = asyncio.get_running_loop()
        self._wake()
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                event = self._waiting[0]
                if not await self.store(event):
                    await asyncio.sleep(RETRY_S)
                elif self._waiting and self._waiting[0] is event:  # else it was dropped meanwhile
                    self._waiting.popleft()
            self._none_waits.set()

    async def settle(self, timeout_s: float) -> bool:
        """Wait until all that was recorded is in the log; False if that takes longer."""
        if self._waiting:
            self._wake()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._none_waits.wait()
        return not self._waiting

    async def close(self) -> None:
        """Give what waits a last chance; `run` is cancelled after this."""
        if not await self.settle(CLOSE_S):
            log.error("audit_events_not_stored", count=len(self._waiting))

    def _wake(self) -> None:
        if self._waiting:
            self._none_waits.clear()
        self._more.set()

    async def store(self, event: AuditRecorded) -> bool:
        """Put one event into the log, once however often this is tried; False if that cannot be done now."""
        try:
            await self._events.append(event)
        except LogUnavailableError:
            return False
        except Exception as error:  # noqa: BLE001 -- whatever the broker says, the next try may find it well
            log.error("audit_not_stored", error=type(error).__name__)
            return False
        return True


def event_of(
    actor: str, action: str, outcome: Outcome, about: str, client: Client, detail: dict[str, Any]
) -> AuditRecorded:
    """Return the event, scrubbed. Raises ValidationError for what can be none."""
    known = actor if _ACTOR.fullmatch(actor) else ANONYMOUS
    data = AuditRecordedData(
        action=_scrubbed(action),
        outcome=outcome,
        about=_scrubbed(about),
        address=client.address,
        agent=_scrubbed(client.agent),
        detail={name: scrub(name, value) for name, value in detail.items() if isinstance(value, str | int)},
    )
    event_id = uuid7()
    now = datetime.now(UTC)
    return AuditRecorded(
        id=event_id, source=SOURCE, subject=known, time=now, actor=known, correlationid=event_id, data=data
    )


def scrub(name: str, value: str | int | bool) -> str | int | bool:
    """Return what may be stored of one detail (E8)."""
    if _SECRET_NAME.search(name):
        return REMOVED
    return _scrubbed(value) if isinstance(value, str) else value


def _scrubbed(text: str) -> str:
    return _SECRET_VALUE.sub(REMOVED, text)[:VALUE_MAX]
