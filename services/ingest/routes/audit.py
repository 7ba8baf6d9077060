"""`GET /api/audit/recent`: the newest security events.

Lives here: the route, and who sees whose. Does not live here: recording (`services.ingest.accounts.audit`), the table
(`services.ingest.accounts.audit_trail`).
"""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, BaseModel, Field

from services.ingest.accounts.audit_trail import Asked, Entry
from services.ingest.routes.context import FromApp
from services.ingest.routes.signing_in import NO_STORE
from shared.access.current import Who
from shared.events.access import Outcome
from shared.events.envelope import Timestamp
from shared.openapi import problem
from shared.problems import Problem

DEFAULT, MOST = 50, 200
"""The predecessor's."""
WORD_MAX = 64

MOMENT = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}, {"type": "null"}]}
"""A time as text, or in Unix seconds."""

router = APIRouter(prefix="/api/audit", tags=["accounts"])


class AuditItem(BaseModel):
    """One event. `actor` did it, `about` is the user or object that it happened to."""

    id: str = Field(examples=["0192f0c1-2b3c-7d4e-8f50-61728394a5b6"])
    time: Timestamp
    actor: str = Field(examples=["u_0123456789abcdef"], description="A user's id, `local` or `anonymous`.")
    action: str = Field(examples=["key.created"])
    outcome: Outcome = Field(examples=["succeeded"])
    about: str = Field(examples=["u_0123456789abcdef"])
    address: str = Field(examples=["192.168.1.20"], description="Empty where another user acted on one's account.")
    agent: str = Field(examples=["curl/8.9.1"])
    detail: dict[str, str | int | bool] = Field(examples=[{"key_id": "k0123456789abcdef", "days": 90}])

    @classmethod
    def of(cls, entry: Entry) -> "AuditItem":
        return cls(**vars(entry) | {"time": datetime.fromtimestamp(entry.time, UTC)})


class AuditList(BaseModel):
    items: list[AuditItem]


@router.get(
    "/recent",
    summary="The newest security events",
    responses={403: problem("Others' events are an admin's", "admin_needed")},
)
async def recent(
    who: Who,
    response: Response,
    service: FromApp,
    limit: Annotated[int, Query(ge=1, le=MOST)] = DEFAULT,
    user: Annotated[
        str | None, Query(max_length=WORD_MAX, description="By or about this user. An admin sees all without it.")
    ] = None,
    action: Annotated[str | None, Query(max_length=WORD_MAX, examples=["login"])] = None,
    outcome: Outcome | None = None,
    since: Annotated[AwareDatetime | None, Query(examples=["2026-01-02T00:00:00Z"], json_schema_extra=MOMENT)] = None,
    until: Annotated[AwareDatetime | None, Query(examples=["2026-01-03T00:00:00Z"], json_schema_extra=MOMENT)] = None,
) -> AuditList:
    """The newest first, however old: those of one's own account, for an admin everybody's. `until` is not included, so
    that the time of the last item asks for those before it."""
    if user not in (None, who.user) and not who.administers:
        raise Problem(403, "admin_needed", "Only an admin may see what others did.")
    asked = Asked(
        user=user if who.administers else who.user,
        own=not who.administers,
        action=action,
        outcome=outcome,
        since=since.timestamp() if since else None,
        until=until.timestamp() if until else None,
    )
    response.headers.update(NO_STORE)
    return AuditList(items=[AuditItem.of(entry) for entry in await service.accounts.trail.recent(asked, limit)])
