"""Refreshing as it concerns others: the limit, the transaction, and what a reuse means.

Lives here: the order. Does not live here: the rows (`tokens`), HTTP (`routes.tokens`).
"""

import time

from services.ingest.accounts import throttle, tokens
from services.ingest.accounts.audit import Audit
from services.ingest.accounts.client import Client
from services.ingest.accounts.db import AuthDb
from services.ingest.accounts.revocations import Revocations
from services.ingest.accounts.tokens import Issued, RotationKeys
from shared.access.resolution import Revoked
from shared.problems import Problem


class Refreshing:
    """Replaces refresh tokens. `secret` is what `layout.auth_key` holds."""

    def __init__(
        self, db: AuthDb, secret: bytes, limits: throttle.Throttle, audit: Audit, revocations: Revocations
    ) -> None:
        self._db = db
        self._keys = RotationKeys(secret)
        self._limits = limits
        self._audit = audit
        self._revocations = revocations

    async def refresh(self, presented: str, client: Client) -> Issued:
        """Return the tokens that follow `presented`, the same ones if it comes again within 10 s.

        Raises Problem 401 `refresh_invalid`, 429 `too_many_requests`.
        """
        self._limits.check(throttle.REFRESH, client.address)
        now = time.time()
        done = await self._db.writing(lambda connection: tokens.rotate(connection, self._keys, presented, client, now))
        if isinstance(done, Issued):
            return done
        if done.reason == "reused":
            self._audit.record(done.user_id, "token.reused", outcome="refused", about=done.family_id, client=client)
            await self._revocations.revoke(Revoked(credentials=frozenset({done.family_id})))
        raise Problem(
            401,
            "refresh_invalid",
            "This refresh token is unknown, expired, revoked or used. Sign in again.",
            headers={"WWW-Authenticate": "Bearer"},
        )
