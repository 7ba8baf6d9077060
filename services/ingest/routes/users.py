"""`/api/users`: an admin's view of the accounts, their roles, and keeping one out.

Lives here: the routes. Accounts are made by invite (`routes.invites`): no admin chooses a password.
"""

import sqlite3
import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from services.ingest.accounts import devices, second_factor, users
from services.ingest.accounts.client import Client
from services.ingest.accounts.confirmation import require_recent_person
from services.ingest.accounts.users import ID_PATTERN
from services.ingest.routes.auth import NOT_CONFIRMED
from services.ingest.routes.context import FromApp
from services.ingest.routes.signing_in import time_of
from shared.access.current import Who
from shared.access.principal import Role
from shared.access.resolution import Revoked
from shared.events.envelope import Timestamp
from shared.openapi import problem

EXAMPLE = "u_0123456789abcdef"

UserId = Annotated[str, Path(json_schema_extra={"pattern": ID_PATTERN}, examples=[EXAMPLE])]
UNKNOWN: dict[int | str, dict[str, Any]] = {404: problem("Unknown user", "user_not_found")}

router = APIRouter(prefix="/api/users", tags=["accounts"])


class Account(BaseModel):
    """A user, as an admin sees them."""

    id: str = Field(examples=[EXAMPLE])
    username: str = Field(examples=["maria"])
    role: Role = Field(examples=["operator"])
    disabled: bool = Field(examples=[False])
    has_totp: bool = Field(examples=[False])
    created_at: Timestamp

    @classmethod
    def of(cls, connection: sqlite3.Connection, user: users.User) -> "Account":
        return cls(
            id=user.id,
            username=user.username,
            role=user.role,
            disabled=user.disabled,
            has_totp=second_factor.required(connection, user.id),
            created_at=time_of(user.created_at),
        )


class AllAccounts(BaseModel):
    items: list[Account]


class AccountChange(BaseModel):
    """What is not sent, or null, stays."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    role: Role | None = Field(None, examples=["editor"])
    disabled: bool | None = Field(None, examples=[False])


@router.get("", summary="All users")
async def everyone(service: FromApp) -> AllAccounts:
    """By name, disabled ones too."""

    def look(connection: sqlite3.Connection) -> list[Account]:
        return [Account.of(connection, user) for user in users.everyone(connection)]

    return AllAccounts(items=await service.accounts.db.reading(look))


@router.get("/{user_id}", summary="One user", responses=UNKNOWN)
async def one(user_id: UserId, service: FromApp) -> Account:
    """As in the list."""
    return await service.accounts.db.reading(
        lambda connection: Account.of(connection, users.existing(connection, user_id))
    )


@router.put(
    "/{user_id}",
    summary="Give a user another role, keep them out, or let them in again",
    responses=UNKNOWN | {403: NOT_CONFIRMED, 409: problem("Nobody could administer Dubline any more", "last_admin")},
)
async def change(user_id: UserId, body: AccountChange, request: Request, service: FromApp, who: Who) -> Account:
    """Holds at once and everywhere: what a disabled user runs over HTTP ends, and all their sign-ins are over.

    Their API keys are refused while they are disabled.
    """
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    require_recent_person(who, now)

    def work(connection: sqlite3.Connection) -> tuple[users.User, Account]:
        before = users.existing(connection, user_id)
        if body.role is not None and body.role != before.role:
            users.set_role(connection, user_id, body.role)
        if body.disabled is not None and body.disabled != before.disabled:
            users.set_disabled(connection, user_id, disabled=body.disabled, now=now)
            devices.end_all(connection, user_id, now)
        return before, Account.of(connection, users.existing(connection, user_id))

    before, after = await accounts.db.writing(work)
    if (before.role, before.disabled) != (after.role, after.disabled):
        await accounts.revocations.revoke(Revoked(user=user_id))
    if before.role != after.role:
        accounts.audit.record(
            who.user, "user.role_changed", about=user_id, client=client, before=before.role, after=after.role
        )
    if before.disabled != after.disabled:
        action = "user.disabled" if after.disabled else "user.enabled"
        accounts.audit.record(who.user, action, about=user_id, client=client)
    return after
