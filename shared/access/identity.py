"""Whose a shown credential is: this machine's own key, or one of the accounts'.

Lives here: asking the two in their order. Does not live here: either of them (`local_key`, a `resolution.Resolver`).
"""

from shared.access.local_key import LocalKey
from shared.access.principal import Principal, local_principal
from shared.access.resolution import Resolver


class Identity:
    """Whom a digest stands for, as far as this service knows now."""

    def __init__(self, local_key: LocalKey, resolver: Resolver) -> None:
        self._local_key = local_key
        self._resolver = resolver
        self._local = local_principal()

    async def of(self, digest: str) -> Principal | None:
        """Return whose credential this is, None if nobody's. Raises AccessUnavailableError."""
        if not digest:
            return None
        return self._local if self.is_local_key(digest) else await self._resolver.resolve(digest)

    def is_local_key(self, digest: str) -> bool:
        """Return whether this is the digest of this machine's own key."""
        return self._local_key.is_it(digest)
