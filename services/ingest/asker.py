"""Who asks for a write, and the trace that it belongs to.

Lives here: the value that every write is given, and how a route gets it. Does not live here: finding out who it is
(`shared.access.guard`).
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from services.ingest.fields import trace_parent
from shared.access.current import Who
from shared.access.principal import Principal
from shared.problems import Problem


@dataclass(frozen=True)
class By:
    """`actor` is who an event names, and whose a new thing is."""

    principal: Principal
    traceparent: str | None = None

    @property
    def actor(self) -> str:
        return self.principal.user


async def by_of(request: Request, who: Who) -> By:
    """Return who asks, for a route that somebody must be signed in to."""
    return By(who, trace_parent(request.headers.get("traceparent")))


Asker = Annotated[By, Depends(by_of)]


def not_yours() -> Problem:
    """Return the refusal of a write to what somebody else shares: who may read it knows that it is there."""
    return Problem(403, "not_yours", "This belongs to somebody else, who shares it for reading. Ask its owner.")
