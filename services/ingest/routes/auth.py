"""`/auth` and `/api/auth`: signing in and out, and who one is.

Lives here: the routes. Does not live here: proving it again (`routes.proving`), where one is signed in
(`routes.sessions`), other ways in (`routes.tokens`, `qr`, `oidc`), and the judgement (`services.ingest.accounts`).
"""

import sqlite3
import time
from typing import Annotated, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from services.ingest.accounts import devices, second_factor, setup, signin, users
from services.ingest.accounts.accounts import Accounts
from services.ingest.accounts.client import Client
from services.ingest.accounts.confirmation import confirmed_until
from services.ingest.accounts.passwords import TYPED_MAX_CHARS
from services.ingest.accounts.signin import Attempt
from services.ingest.routes import signing_in
from services.ingest.routes.context import FromApp
from services.ingest.routes.signing_in import SignedInAnswer, time_of
from shared.access.current import CSRF, Who, WhoIfAny
from shared.access.principal import CredentialKind, Role
from shared.access.resolution import Revoked
from shared.events.envelope import Timestamp
from shared.openapi import problem

PREFIXES = ("/auth", "/api/auth")
"""The predecessor has each of its routes under both."""

NAME_TYPED_MAX = 256
CODE_MAX = 64

NOT_CONFIRMED = problem("Prove again who you are: POST /api/auth/confirm", "confirmation_required")
TOO_MANY = problem("Too many tries; `Retry-After` says when the next one counts", "too_many_requests")
BUSY = problem("Too many sign-ins at this moment", "busy")
TypedPassword = Annotated[
    str, Field(min_length=1, max_length=TYPED_MAX_CHARS, examples=["correct horse battery staple"])
]
router = APIRouter(tags=["accounts"])
_twice = APIRouter()
_once = APIRouter(prefix="/api/auth")


class Login(BaseModel):
    """What a person shows. `totp` or `recovery_code` where the account has a second factor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    username: str = Field(min_length=1, max_length=NAME_TYPED_MAX, examples=["maria"])
    password: TypedPassword
    totp: str | None = Field(None, max_length=CODE_MAX, examples=["123456"])
    recovery_code: str | None = Field(None, max_length=CODE_MAX, examples=[None])
    session: bool = Field(default=False, description="true: a browser's session in a cookie instead of tokens.")
    device_name: str = Field("", max_length=NAME_TYPED_MAX, examples=["Maria's laptop"])


class Done(BaseModel):
    ok: bool = True


class State(BaseModel):
    """What a sign-in page needs to know before anybody is signed in."""

    setup_needed: bool = Field(examples=[False], description="There is no admin yet: POST /api/setup makes one.")
    oidc: bool = Field(examples=[False], description="People may sign in with another service.")


class Me(BaseModel):
    """Who asks, and what this credential may do."""

    id: str = Field(examples=["u_0123456789abcdef"])
    username: str = Field(examples=["maria"])
    role: Role = Field(examples=["operator"])
    scopes: list[str] = Field(examples=[["read:job", "submit:job"]])
    kind: CredentialKind = Field(examples=["session"])
    csrf_token: str = Field(examples=["c2Vzc2lvbi1ib3VuZC10b2tlbi1leGFtcGxlLTAwMDAwMDA"], description="Of a session.")
    has_totp: bool = Field(examples=[False])
    has_password: bool = Field(examples=[True])
    setup_needed: bool = Field(examples=[False])
    expires_at: Timestamp | None
    confirmed_until: Timestamp | None = Field(description="Until then factors, keys and the password may be changed.")


@_twice.post(
    "/login",
    summary="Sign in with a user name and a password",
    response_model=SignedInAnswer,
    response_model_exclude_none=True,
    openapi_extra=signing_in.body_of(Login, {"username": "maria", "password": "correct horse battery staple"}),
    responses={
        400: problem("Neither JSON nor a form", "malformed_json", "http_400"),
        401: problem(
            "Not let in. The first is the same for every reason; the others come after the right password",
            *("invalid_credentials", "totp_required", "totp_invalid"),
        ),
        415: problem("Neither JSON nor a form by its Content-Type", "unsupported_body"),
        422: problem("Not what is described here", "invalid_request"),
        429: TOO_MANY,
        503: problem("Try again in a second", "busy", "second_factor_unavailable"),
    },
)
async def login(request: Request, service: FromApp, who: WhoIfAny) -> Response:
    """Programs get an access token for a quarter of an hour and a refresh token; browsers ask for a `session`.

    A session that the browser had before ends.
    """
    accounts, now = service.accounts, time.time()
    wanted = await signing_in.read(request, Login)
    client = Client.of(request, wanted.device_name)
    attempt = Attempt(wanted.username, wanted.password, wanted.totp, wanted.recovery_code, wanted.session)
    signed_in = await signin.sign_in(accounts, attempt, client, now)
    if who is not None and who.kind == "session":
        await end_one(accounts, who.user, who.credential, now)
    return signing_in.answer(signed_in.user, signed_in.credential, service.settings, now)


@_twice.post("/logout", summary="Sign out", response_model=Done)
async def logout(request: Request, service: FromApp, who: Who) -> Response:
    """Ends the session, or the tokens' whole family, at once and everywhere."""
    accounts, now = service.accounts, time.time()
    await end_one(accounts, who.user, who.credential, now)
    accounts.audit.record(who.user, "logout", about=who.user, client=Client.of(request))
    response = JSONResponse(Done().model_dump())
    signing_in.clear_session(response, service.settings)
    return response


@_once.get("/me", summary="Who one is")
async def me(request: Request, response: Response, service: FromApp, who: Who) -> Me:
    """For any credential. A page takes its CSRF token from here."""

    def look(connection: sqlite3.Connection) -> tuple[bool, bool, bool]:
        has_password = users.password_hash(connection, who.user) is not None
        return second_factor.required(connection, who.user), has_password, setup.needed(connection)

    has_totp, has_password, needed = await service.accounts.db.reading(look)
    until = confirmed_until(who)
    response.headers.update(signing_in.NO_STORE)
    return Me(
        id=who.user,
        username=who.name,
        role=who.role,
        scopes=sorted(who.scopes),
        kind=who.kind,
        csrf_token=cast(str, request.scope.get(CSRF, "")),
        has_totp=has_totp,
        has_password=has_password,
        setup_needed=needed,
        expires_at=who.expires_at,
        confirmed_until=time_of(until) if until else None,
    )


@_once.get("/state", summary="Whether there is an admin, and how one may sign in")
async def state(response: Response, service: FromApp) -> State:
    """For everybody: a sign-in page asks this first."""
    response.headers.update(signing_in.NO_STORE)
    needed = await service.accounts.db.reading(setup.needed)
    return State(setup_needed=needed, oidc=bool(service.settings.oidc_issuer))


async def end_one(accounts: Accounts, user_id: str, device_id: str, now: float) -> bool:
    """End one of a user's sign-ins, here and everywhere; False if they have none with this id."""
    done = await accounts.db.writing(lambda connection: devices.end(connection, user_id, device_id, now))
    if done:
        await accounts.revocations.revoke(Revoked(credentials=frozenset({device_id})))
    return done


for _prefix in PREFIXES:
    router.include_router(_twice, prefix=_prefix)
router.include_router(_once)
