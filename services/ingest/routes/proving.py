"""`POST /api/auth/confirm` and `/api/auth/password`: showing the password, or a code, although one is signed in.

Lives here: both routes. Does not live here: how recent a proof must be (`services.ingest.accounts.confirmation`).
"""

import sqlite3
import time
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.ingest.accounts import devices, second_factor, sessions, signin, throttle, tokens, users
from services.ingest.accounts.accounts import Accounts
from services.ingest.accounts.client import Client
from services.ingest.accounts.confirmation import RECENT_S
from services.ingest.accounts.passwords import MAX_CHARS, MIN_CHARS, TYPED_MAX_CHARS, check_new
from services.ingest.accounts.sessions import Opened
from services.ingest.routes import signing_in
from services.ingest.routes.auth import BUSY, CODE_MAX, TOO_MANY, TypedPassword
from services.ingest.routes.context import FromApp, Service
from services.ingest.routes.signing_in import time_of
from shared.access.credentials import csrf_token, shown
from shared.access.current import Who
from shared.access.principal import Principal
from shared.access.resolution import Revoked
from shared.access.running import over
from shared.events.envelope import Timestamp
from shared.openapi import problem

router = APIRouter(prefix="/api/auth", tags=["accounts"])

NewPassword = Annotated[
    str,
    Field(
        max_length=TYPED_MAX_CHARS,
        examples=["a long sentence is easy to keep"],
        description="No rules about kinds of characters; what attackers try first is refused.",
        json_schema_extra={"minLength": MIN_CHARS, "maxLength": MAX_CHARS},
    ),
]


NewCsrfToken = Annotated[
    str,
    Field(
        examples=["c2Vzc2lvbi1ib3VuZC10b2tlbi1leGFtcGxlLTAwMDAwMDA"],
        description="Of the session's new cookie; empty for a token, which stays as it is.",
    ),
]


class Confirm(BaseModel):
    """One of both."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, json_schema_extra={"minProperties": 1})

    password: TypedPassword = Field("", examples=["correct horse battery staple"])
    totp: str = Field("", min_length=1, max_length=CODE_MAX, examples=["123456"])

    @model_validator(mode="after")
    def _something(self) -> "Confirm":
        if not (self.password or self.totp):
            raise ValueError("send the password, or a code as totp")
        return self


class Confirmed(BaseModel):
    ok: bool = True
    confirmed_until: Timestamp
    csrf_token: NewCsrfToken = ""


class PasswordChange(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    old_password: TypedPassword
    new_password: NewPassword


class PasswordChanged(BaseModel):
    ok: bool = True
    csrf_token: NewCsrfToken = ""


@router.post(
    "/confirm",
    summary="Prove again who one is",
    response_model=Confirmed,
    responses={401: problem("Not proved", "invalid_credentials", "totp_invalid"), 429: TOO_MANY, 503: BUSY},
)
async def confirm(body: Confirm, request: Request, service: FromApp, who: Who) -> Response:
    """For five minutes this session, or these tokens, may then change factors, keys and sign-ins elsewhere.

    A browser's session goes on with another cookie: the old one is refused at once, and what runs with it ends.
    """
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    with accounts.audit.refusals(who.user, "confirm", about=who.user, client=client):
        if body.password:
            await _prove_password(accounts, who, body.password)
        else:
            await _prove_code(accounts, who, body.totp, client, now)
    opened = None
    if who.kind == "session":
        opened = await _renew(service, request, now)
    else:
        await accounts.db.writing(lambda connection: tokens.confirm(connection, who.credential, now))
        accounts.resolver.forget(Revoked(credentials=frozenset({who.credential})))  # it remembers the older proof
    accounts.audit.record(who.user, "confirm", about=who.user, client=client)
    until = time_of(now + RECENT_S)
    return _in_session(service, Confirmed(confirmed_until=until, csrf_token=_csrf_of(opened)), opened, now)


@router.post(
    "/password",
    summary="Change one's own password",
    response_model=PasswordChanged,
    responses={
        401: problem("The old password is wrong", "invalid_credentials"),
        422: problem("Not usable", "password_length", "password_common", "invalid_password", "invalid_request"),
        429: TOO_MANY,
        503: BUSY,
    },
)
async def password(body: PasswordChange, request: Request, service: FromApp, who: Who) -> Response:
    """Ends every other sign-in of this account. A browser goes on in a new session; API keys stay."""
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    check_new(body.new_password, who.name)
    with accounts.audit.refusals(who.user, "password.changed", about=who.user, client=client):
        kept = await _prove_password(accounts, who, body.old_password)
    hashed = await accounts.passwords.hash(body.new_password)

    def change(connection: sqlite3.Connection) -> tuple[frozenset[str], Opened | None]:
        if users.password_hash(connection, who.user) != kept:
            raise signin.refused()  # another request was first
        users.set_password_hash(connection, who.user, hashed)
        if who.kind == "token":
            return devices.end_all(connection, who.user, now, keep=who.credential), None
        ended = devices.end_all(connection, who.user, now)
        return ended, sessions.open_session(connection, who.user, "password", client, now)

    ended, opened = await accounts.db.writing(change)
    await accounts.revocations.revoke(Revoked(credentials=ended))
    accounts.audit.record(who.user, "password.changed", about=who.user, client=client, ended=len(ended))
    return _in_session(service, PasswordChanged(csrf_token=_csrf_of(opened)), opened, now)


async def _renew(service: Service, request: Request, now: float) -> Opened:
    """Give the session another token, and end what the old one was good for, here and everywhere.

    Raises Problem 401 for one that another request renewed, or ended, meanwhile.
    """
    credential = shown(request.scope["headers"], service.settings.session_cookie)
    old = credential.digest if credential else ""
    opened = await service.accounts.db.writing(lambda connection: sessions.renew(connection, old, now))
    if opened is None:
        raise over()
    await service.accounts.revocations.revoke(Revoked(digests=frozenset({old})))
    return opened


def _csrf_of(opened: Opened | None) -> str:
    return "" if opened is None else csrf_token(opened.token)


def _in_session(service: Service, body: BaseModel, opened: Opened | None, now: float) -> Response:
    """Return the answer, with the cookie of the session that goes on from here."""
    response = JSONResponse(body.model_dump(mode="json"), headers=signing_in.NO_STORE)
    if opened is not None:
        signing_in.set_session(response, service.settings, opened, now)
    return response


async def _prove_password(accounts: Accounts, who: Principal, typed: str) -> str | None:
    """Return what is kept of the password, which was the right one. Raises Problem 401, 429, 503."""
    accounts.throttle.check(throttle.CONFIRM, who.user)
    kept = await accounts.db.reading(lambda connection: users.password_hash(connection, who.user))
    if not (await accounts.passwords.verify(kept, typed)).right:
        raise signin.refused()
    accounts.throttle.succeeded(throttle.CONFIRM, who.user)
    return kept


async def _prove_code(accounts: Accounts, who: Principal, code: str, client: Client, now: float) -> None:
    """Raise Problem 401 `totp_invalid` for a wrong code, and for who has no second factor to show."""
    accounts.throttle.check(throttle.TOTP, who.user, client.address)

    def verify(connection: sqlite3.Connection) -> None:
        if not second_factor.required(connection, who.user):
            raise second_factor.invalid()
        second_factor.verify(connection, accounts.sealer, who.user, code, None, now)

    await accounts.db.writing(verify)
    accounts.throttle.succeeded(throttle.TOTP, who.user, client.address)
