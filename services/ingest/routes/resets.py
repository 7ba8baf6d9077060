"""`POST /api/users/{id}/password_reset` and `/api/auth/reset`: another password for who forgot theirs.

Lives here: both routes. Does not live here: the token (`services.ingest.accounts.resets`), changing a password that one
knows (`routes.proving`).
"""

import sqlite3
import time

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from services.ingest.accounts import devices, resets, throttle, users
from services.ingest.accounts.audit import ANONYMOUS
from services.ingest.accounts.client import Client
from services.ingest.accounts.confirmation import require_recent
from services.ingest.accounts.passwords import check_new
from services.ingest.accounts.users import User
from services.ingest.routes.auth import BUSY, NOT_CONFIRMED, TOO_MANY, Done
from services.ingest.routes.context import FromApp
from services.ingest.routes.one_time import UNUSABLE_PASSWORD, OneTimeToken, address_of
from services.ingest.routes.proving import NewPassword
from services.ingest.routes.signing_in import NO_STORE, time_of
from services.ingest.routes.users import UNKNOWN, UserId
from shared.access.credentials import digest
from shared.access.current import Who
from shared.access.resolution import Revoked
from shared.events.envelope import Timestamp
from shared.openapi import problem

PAGE = "/ui/reset"

router = APIRouter(prefix="/api", tags=["accounts"])


class MadeReset(BaseModel):
    """Shown once: give `url` to the person."""

    token: str = Field(examples=["dubreset_…"])
    url: str = Field(examples=["https://dub.example.org/ui/reset#dubreset_…"])
    expires_at: Timestamp


class Reset(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    token: OneTimeToken = Field(examples=["dubreset_…"])
    new_password: NewPassword


@router.post(
    "/users/{user_id}/password_reset",
    status_code=201,
    summary="Let a user choose another password",
    responses=UNKNOWN | {403: NOT_CONFIRMED, 429: TOO_MANY},
)
async def create(user_id: UserId, request: Request, response: Response, service: FromApp, who: Who) -> MadeReset:
    """Good once, for an hour, and nothing changes before it is used. Who makes one takes over an account if they keep
    it, so it needs a person who just proved themself."""
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    require_recent(who, now)
    accounts.throttle.check(throttle.INVITE_CREATE, who.user, client.address)

    def make(connection: sqlite3.Connection) -> str:
        return resets.make(connection, users.existing(connection, user_id).id, now)

    token = await accounts.db.writing(make)
    accounts.audit.record(who.user, "password.reset_made", about=user_id, client=client)
    response.headers.update(NO_STORE)
    url = address_of(service.settings, PAGE, token)
    return MadeReset(token=token, url=url, expires_at=time_of(now + resets.LIFETIME_S))


@router.post(
    "/auth/reset",
    summary="Choose another password with a reset token",
    responses={
        400: problem("Used, too old or not whole", "invalid_reset", "http_400"),
        422: UNUSABLE_PASSWORD,
        429: TOO_MANY,
        503: BUSY,
    },
)
async def reset(body: Reset, request: Request, service: FromApp) -> Done:
    """Every sign-in of the account ends. Sign in afterwards, with the second factor where there is one."""
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    accounts.throttle.check(throttle.INVITE_REDEEM, digest(body.token), client.address)

    def redeem(connection: sqlite3.Connection, hashed: str) -> tuple[User, frozenset[str]]:
        user = resets.redeem(connection, body.token, hashed, now)
        return user, devices.end_all(connection, user.id, now)

    with accounts.audit.refusals(ANONYMOUS, "password.reset", client=client):
        user = await accounts.db.reading(lambda connection: resets.check(connection, body.token, now))
        check_new(body.new_password, user.username)
        hashed = await accounts.passwords.hash(body.new_password)
        user, ended = await accounts.db.writing(lambda connection: redeem(connection, hashed))
    await accounts.revocations.revoke(Revoked(credentials=ended))
    accounts.audit.record(user.id, "password.reset", about=user.id, client=client, ended=len(ended))
    return Done()
