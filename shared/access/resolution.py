"""From what a request shows to who it is: the question between the services, and its answer.

Lives here: the messages of the bus (never a secret, only its digest) and what a service must offer to its guard.
Does not live here: asking and caching (`client`), answering (`services.ingest.accounts.resolver`).
"""

from typing import Protocol

from pydantic import BaseModel, ConfigDict

from shared.access.principal import Principal


class ResolveRequest(BaseModel):
    """Whose is the credential with this SHA-256?"""

    model_config = ConfigDict(extra="ignore", frozen=True)

    digest: str


class ResolveAnswer(BaseModel):
    """`principal` is None for a credential that is unknown, expired or revoked, and for one of a disabled user."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    principal: Principal | None = None


class Revoked(BaseModel):
    """From now on refuse these: whoever remembers an answer about them forgets it, whoever serves them stops.

    `user`: all of one user's (disabled, role changed, signed out everywhere); `credentials`: ids of single ones;
    `digests`: of tokens that others took the place of, while their credentials go on.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    user: str | None = None
    credentials: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()

    def concerns(self, principal: Principal, digest: str) -> bool:
        """Whether what `digest` was shown for, and resolved to `principal`, is over."""
        return principal.user == self.user or principal.credential in self.credentials or digest in self.digests


class AccessUnavailableError(Exception):
    """Nobody can say now whose a credential is; the request is refused with 503, never let in."""


class Resolver(Protocol):
    """What the guard asks: ingest has the accounts, the others ask it."""

    async def resolve(self, digest: str) -> Principal | None:
        """Return whose credential this is, None if nobody's. Raises AccessUnavailableError."""
        ...
