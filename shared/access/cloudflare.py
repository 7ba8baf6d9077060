"""Cloudflare Access: checking the assertion that it adds to every request that it let through.

Lives here: its keys, kept for a day, and what an assertion must say. Does not live here: where it is asked for
(`remote`). Reference: Cloudflare One, "Validate JWTs".
"""

import asyncio
import math
import time
from typing import Any

import httpx
import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from shared.access.credentials import digest
from shared.access.resolution import AccessUnavailableError

KEYS_KEPT_S = 24 * 3600.0
KEYS_AGAIN_S = 60.0
"""A key that we do not know may be new: then its set is fetched again, but not for each request that makes one up."""
FETCH_TIMEOUT_S = 5.0
FAILED_AGAIN_S = 5.0
"""While they cannot be had, requests do not wait for the same failure one after the other."""
REMEMBERED = 1024
REMEMBERED_S = 60.0
"""Checking a signature costs a tenth of a millisecond; the same assertion comes with each request of a browser."""
ASSERTION_MAX_CHARS = 8192
SKEW_S = 60

log = structlog.get_logger()


class CloudflareAccess:
    """Checks assertions for one team and one application."""

    def __init__(self, issuer: str, audience: str) -> None:
        """`issuer`: `https://<team>.cloudflareaccess.com`."""
        self._issuer = issuer.rstrip("/")
        self._claims = jwt.JWTClaimsRegistry(
            leeway=SKEW_S,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
        )
        self._keys: KeySet | None = None
        self._fetched_at = -math.inf
        self._try_at = 0.0
        self._fetching = asyncio.Lock()
        self._good: dict[str, float] = {}

    async def valid(self, assertion: str) -> bool:
        """Return whether it is signed by this team for this application and not expired.

        Raises AccessUnavailableError if the team's keys cannot be had.
        """
        if len(assertion) > ASSERTION_MAX_CHARS:
            return False
        key, now = digest(assertion), time.monotonic()
        if self._good.get(key, 0.0) > now:
            return True
        expires = self._checked(assertion, await self._known_keys(KEYS_KEPT_S))
        if expires is None:
            expires = self._checked(assertion, await self._known_keys(KEYS_AGAIN_S))
        if expires is None:
            return False
        if len(self._good) >= REMEMBERED:
            self._good.clear()
        self._good[key] = now + min(REMEMBERED_S, max(0.0, expires - time.time()))
        return True

    def _checked(self, assertion: str, keys: KeySet) -> float | None:
        """Return when the assertion expires, None if it is not good."""
        try:
            token = jwt.decode(assertion, keys, algorithms=["RS256"])
            self._claims.validate(token.claims)
            return float(token.claims["exp"])
        except (JoseError, ValueError, TypeError, KeyError):
            return None

    async def _known_keys(self, age_s: float) -> KeySet:
        """Return keys that are younger than this, or older ones while none can be had, but never a day old."""
        async with self._fetching:
            now = time.monotonic()
            if now - self._fetched_at >= age_s and now >= self._try_at:
                self._try_at = now + FAILED_AGAIN_S
                self._keys = await self._fetch() or self._keys
            if self._keys is None or now - self._fetched_at >= KEYS_KEPT_S:
                raise AccessUnavailableError("the keys of Cloudflare Access cannot be had")
            return self._keys

    async def _fetch(self) -> KeySet | None:
        try:
            async with httpx.AsyncClient(timeout=FETCH_TIMEOUT_S, trust_env=False) as client:
                answer = (await client.get(f"{self._issuer}/cdn-cgi/access/certs")).raise_for_status()
            told: dict[str, Any] = answer.json()
            keys = KeySet.import_key_set({"keys": told["keys"]})
        except (httpx.HTTPError, JoseError, ValueError, TypeError, KeyError) as error:
            log.warning("access_keys_unavailable", error=type(error).__name__)
            return None
        self._fetched_at = time.monotonic()
        return keys
