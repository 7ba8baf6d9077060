"""`/api/admin/invites` and `/api/invites/redeem`: how an account comes to be.

Lives here: the routes. Does not live here: the first admin (`routes.setup`), the rows (`services.ingest.accounts`).
"""

import time
from typing import Annotated, Literal, cast

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from services.ingest.accounts import invites, throttle
from services.ingest.accounts.audit import ANONYMOUS
from services.ingest.accounts.client import Client
from services.ingest.accounts.confirmation import require_recent_person
from services.ingest.accounts.invites import DEFAULT_HOURS, ID_PATTERN, MAX_HOURS, Invite
from services.ingest.accounts.users import User
from services.ingest.fields import whole
from services.ingest.routes.auth import BUSY, NOT_CONFIRMED, TOO_MANY
from services.ingest.routes.context import FromApp
from services.ingest.routes.one_time import (
    TAKEN,
    UNUSABLE_CHOICE,
    NewAccount,
    OneTimeToken,
    address_of,
    hashed_choice,
)
from services.ingest.routes.signing_in import time_of
from shared.access.credentials import digest
from shared.access.current import Who
from shared.access.principal import Role
from shared.events.envelope import Timestamp
from shared.openapi import problem

EXAMPLE = "inv_0123456789abcdef"
PAGE = "/ui/invite"

InviteId = Annotated[str, Path(json_schema_extra={"pattern": ID_PATTERN}, examples=[EXAMPLE])]

router = APIRouter(prefix="/api", tags=["accounts"])


class NewInvite(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    role: Role = Field(examples=["operator"])
    hours: Annotated[int, BeforeValidator(whole)] = Field(
        DEFAULT_HOURS, ge=1, le=MAX_HOURS, examples=[DEFAULT_HOURS], description="How long it is good."
    )


class InviteAnswer(BaseModel):
    """An invite without its token, which nobody can see again."""

    id: str = Field(examples=[EXAMPLE])
    role: Role = Field(examples=["operator"])
    state: Literal["open", "used", "revoked", "expired"]
    created_by: str = Field(examples=["u_0123456789abcdef"])
    created_at: Timestamp
    expires_at: Timestamp
    used_at: Timestamp | None
    used_by: str | None = Field(examples=[None])

    @classmethod
    def of(cls, invite: Invite, now: float) -> "InviteAnswer":
        return cls(
            id=invite.id,
            role=invite.role,
            state=cast(Literal["open", "used", "revoked", "expired"], invite.state(now)),
            created_by=invite.created_by,
            created_at=time_of(invite.created_at),
            expires_at=time_of(invite.expires_at),
            used_at=None if invite.used_at is None else time_of(invite.used_at),
            used_by=invite.used_by,
        )


class MadeInvite(InviteAnswer):
    """Shown once: give `url` to the person."""

    token: str = Field(examples=["dubinvite_…"])
    url: str = Field(examples=["https://dub.example.org/ui/invite#dubinvite_…"])


class AllInvites(BaseModel):
    items: list[InviteAnswer]


class Redeem(NewAccount):
    token: OneTimeToken = Field(examples=["dubinvite_…"])


class MadeAccount(BaseModel):
    id: str = Field(examples=["u_0123456789abcdef"])
    username: str = Field(examples=["maria"])
    role: Role = Field(examples=["operator"])


@router.get("/admin/invites", summary="All invites")
async def everyone(service: FromApp) -> AllInvites:
    """The newest first, used and expired ones too."""
    found = await service.accounts.db.reading(invites.everyone)
    return AllInvites(items=[InviteAnswer.of(invite, time.time()) for invite in found])


@router.post(
    "/admin/invites",
    status_code=201,
    summary="Invite somebody",
    responses={403: NOT_CONFIRMED, 429: TOO_MANY},
)
async def create(body: NewInvite, request: Request, service: FromApp, who: Who) -> MadeInvite:
    """Whoever has its token makes one account with this role, and chooses its name and password."""
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    require_recent_person(who, now)
    accounts.throttle.check(throttle.INVITE_CREATE, who.user, client.address)
    invite, token = await accounts.db.writing(
        lambda connection: invites.make(connection, body.role, who.user, body.hours, now)
    )
    accounts.audit.record(who.user, "invite.created", about=invite.id, client=client, role=body.role, hours=body.hours)
    url = address_of(service.settings, PAGE, token)
    return MadeInvite(**InviteAnswer.of(invite, now).model_dump(), token=token, url=url)


@router.delete(
    "/admin/invites/{invite_id}",
    summary="Withdraw an invite",
    responses={404: problem("Unknown invite", "invite_not_found")},
)
async def revoke(invite_id: InviteId, request: Request, service: FromApp, who: Who) -> InviteAnswer:
    """One that was used stays used: disable the user instead."""
    accounts, now = service.accounts, time.time()
    invite = await accounts.db.writing(lambda connection: invites.revoke(connection, invite_id, now))
    accounts.audit.record(
        who.user, "invite.revoked", about=invite_id, client=Client.of(request), state=invite.state(now)
    )
    return InviteAnswer.of(invite, now)


@router.post(
    "/invites/redeem",
    status_code=201,
    summary="Make an account with an invite",
    responses={
        400: problem("No invite", "invalid_invite", "http_400"),
        409: TAKEN,
        410: problem("Used, withdrawn or too old", "invite_used", "invite_expired"),
        422: UNUSABLE_CHOICE,
        429: TOO_MANY,
        503: BUSY,
    },
)
async def redeem(body: Redeem, request: Request, service: FromApp) -> MadeAccount:
    """For everybody who has its token. Sign in afterwards."""
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    accounts.throttle.check(throttle.INVITE_REDEEM, digest(body.token), client.address)
    with accounts.audit.refusals(ANONYMOUS, "invite.redeemed", client=client):
        invite = await accounts.db.reading(lambda connection: invites.check(connection, body.token, now))
        hashed = await hashed_choice(accounts, body)
        user: User = await accounts.db.writing(
            lambda connection: invites.redeem(connection, body.token, body.username, hashed, now)
        )
    accounts.audit.record(user.id, "invite.redeemed", about=invite.id, client=client, role=user.role)
    return MadeAccount(id=user.id, username=user.username, role=user.role)
