"""`POST /api/setup`: the first admin, by whoever holds the set-up token.

Lives here: the route. Does not live here: the token (`services.ingest.accounts.setup`).
"""

import asyncio
import sqlite3
import time

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from services.ingest.accounts import sessions, setup, throttle, users
from services.ingest.accounts.audit import ANONYMOUS
from services.ingest.accounts.client import Client
from services.ingest.accounts.passwords import check_new
from services.ingest.accounts.sessions import Opened
from services.ingest.accounts.users import User
from services.ingest.routes import signing_in
from services.ingest.routes.auth import TOO_MANY
from services.ingest.routes.context import FromApp
from services.ingest.routes.invites import NewName, OneTimeToken
from services.ingest.routes.proving import NewPassword
from services.ingest.routes.signing_in import SignedInAnswer
from shared.openapi import problem
from shared.problems import Problem

router = APIRouter(prefix="/api", tags=["accounts"])


class FirstAdmin(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    token: OneTimeToken = Field(examples=["dubsetup_…"])
    username: NewName
    password: NewPassword


@router.post(
    "/setup",
    status_code=201,
    summary="Make the first admin, and sign them in",
    response_model=SignedInAnswer,
    response_model_exclude_none=True,
    responses={
        400: problem("Not the token of the last start", "invalid_setup_token", "http_400"),
        409: problem("Somebody has this name", "username_taken"),
        410: problem("There is an admin, or the token is too old", "setup_closed", "setup_token_expired"),
        422: problem(
            "Not usable",
            *("invalid_username", "password_length", "password_common", "invalid_password", "invalid_request"),
        ),
        429: TOO_MANY,
        503: problem("Too many sign-ins at this moment", "busy"),
    },
)
async def first_admin(body: FirstAdmin, request: Request, service: FromApp) -> Response:
    """`dubline up` prints the token while there is no admin. Once there is one, this is closed for ever."""
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    accounts.throttle.check(throttle.SETUP, client.address)

    def create(connection: sqlite3.Connection, hashed: str) -> tuple[User, Opened]:
        user = setup.create_admin(connection, body.token, body.username, hashed, now)
        return user, sessions.open_session(connection, user.id, "setup", client, now)

    try:
        await accounts.db.reading(lambda connection: setup.check(connection, body.token, now))
        users.check_name(body.username)
        check_new(body.password, body.username)
        hashed = await accounts.passwords.hash(body.password)
        user, opened = await accounts.db.writing(lambda connection: create(connection, hashed))
    except Problem as refusal:
        accounts.audit.record(ANONYMOUS, "setup", outcome="failed", client=client, reason=refusal.code)
        raise
    await asyncio.to_thread(setup.forget_token, service.settings.layout)
    accounts.audit.record(user.id, "setup", about=user.id, client=client)
    return signing_in.answer(user, opened, service.settings, now, 201)
