"""The parts of the accounts, made once for a process and reachable from every route.

Lives here: making them, their background tasks, and ending them. Does not live here: what any of them does.
"""

import asyncio
import contextlib
import sqlite3
import time
from dataclasses import dataclass, field

import structlog

from services.ingest.accounts import audit_outbox, audit_trail, keys, sessions, setup, tokens
from services.ingest.accounts.answering import Answering
from services.ingest.accounts.audit import Audit
from services.ingest.accounts.audit_trail import AuditTrail
from services.ingest.accounts.db import AuthDb
from services.ingest.accounts.oidc_provider import Provider, configured
from services.ingest.accounts.passwords import Passwords
from services.ingest.accounts.refreshing import Refreshing
from services.ingest.accounts.resolver import StoreResolver
from services.ingest.accounts.revocations import Revocations
from services.ingest.accounts.sealer import Sealer
from services.ingest.accounts.throttle import Throttle
from services.ingest.bus import Bus
from services.ingest.settings import IngestSettings
from shared.eventlog.late import LateLog
from shared.events.subjects import AUTH_RESOLVE
from shared.layout import Layout
from shared.secret_files import ensure_secret, read_secret

PRUNE_EVERY_S = 3600.0
FIELDS = "auth.db fields"
"""The purpose of the key that second factors are sealed with. Another word makes them unreadable."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Accounts:
    """Everything that knows who somebody is. Its parts take what they need and know nothing of this bundle."""

    settings: IngestSettings
    db: AuthDb
    passwords: Passwords
    throttle: Throttle
    audit: Audit
    trail: AuditTrail
    revocations: Revocations
    resolver: StoreResolver
    refreshing: Refreshing
    sealer: Sealer
    provider: Provider | None
    _tasks: "list[asyncio.Task[None]]" = field(default_factory=list)

    async def start(self) -> None:
        """Begin the background tasks, and make the set-up token while there is no admin."""
        self._tasks.append(asyncio.create_task(self.audit.run()))
        self._tasks.append(asyncio.create_task(audit_outbox.send_for_ever(self.db, self.audit.store)))
        self._tasks.append(asyncio.create_task(_prune_for_ever(self.db)))
        await offer_setup(self.db, self.settings.layout)

    async def close(self) -> None:
        """End everything. To be called while the broker is still connected: the last records go there."""
        await self.audit.close()
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.revocations.close()
        await self.resolver.close()
        await asyncio.to_thread(self.passwords.close)
        await asyncio.to_thread(self.db.close)


def open_accounts(settings: IngestSettings, bus: Bus) -> Accounts:
    """Open auth.db and put the parts together; `bus` need not be connected.

    Raises NewerDatabaseError, UnusableSecretError, sqlite3.Error, OSError (also for OIDC_CLIENT_SECRET_FILE).
    """
    layout = settings.layout
    with contextlib.suppress(OSError):  # read-only where another container made it, and told of by the next line
        ensure_secret(layout.auth_key)
    secret = read_secret(layout.auth_key)
    db = AuthDb(layout.auth_db)
    limits = Throttle()
    events = LateLog(bus)
    audit = Audit(events)
    revocations = Revocations(bus.tell)
    resolver = StoreResolver(db)
    revocations.listen(resolver.forget)
    bus.serve(AUTH_RESOLVE, Answering(resolver).serve)
    return Accounts(
        settings=settings,
        db=db,
        passwords=Passwords(),
        throttle=limits,
        audit=audit,
        trail=AuditTrail(db, events, audit),
        revocations=revocations,
        resolver=resolver,
        refreshing=Refreshing(db, secret, limits, audit, revocations),
        sealer=Sealer(secret, FIELDS),
        provider=configured(settings),
    )


async def offer_setup(db: AuthDb, layout: Layout) -> None:
    """Tell the operator where the token lies; it is in no log, only its file is."""
    token = await db.writing(lambda connection: setup.renew_token(connection, time.time()))
    if token is None:
        await asyncio.to_thread(setup.forget_token, layout)
        return
    try:
        path = await asyncio.to_thread(setup.write_token, layout, token)
    except OSError as error:
        log.error("setup_token_not_written", error=error.strerror, detail="Make an admin with `dubline admin create`.")
        return
    log.warning("no_admin_yet", token_file=str(path), page="/ui/setup", minutes=int(setup.LIFETIME_S / 60))


async def _prune_for_ever(db: AuthDb) -> None:
    """Remove what has ended by itself."""

    def prune(connection: sqlite3.Connection) -> int:
        now = time.time()
        ended = sessions.prune(connection, now) + tokens.prune(connection, now) + keys.prune(connection, now)
        return ended + audit_trail.prune(connection)

    while True:
        try:
            await db.writing(prune)
        except sqlite3.Error as error:  # a full disk, say; the next round tries again
            log.warning("accounts_not_pruned", error=type(error).__name__)
        await asyncio.sleep(PRUNE_EVERY_S)
