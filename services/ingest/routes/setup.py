"""`POST /api/setup`: the first admin, by whoever holds the set-up token.

Lives here: the route. Does not live here: the token (`services.ingest.accounts.setup`).
"""

import asyncio
import sqlite3
import time

from fastapi import APIRouter, Request, Response
from pydantic import Field

from services.ingest.accounts import sessions, setup, throttle
from services.ingest.accounts.audit import ANONYMOUS
from services.ingest.accounts.client import Client
from services.ingest.accounts.sessions import Opened
from services.ingest.accounts.users import User
from services.ingest.routes import signing_in
from services.ingest.routes.auth import BUSY, TOO_MANY
from services.ingest.routes.context import FromApp
from services.ingest.routes.one_time import TAKEN, UNUSABLE_CHOICE, NewAccount, OneTimeToken, hashed_choice
from services.ingest.routes.signing_in import SignedInAnswer
from shared.openapi import problem

router = APIRouter(prefix="/api", tags=["accounts"])


class FirstAdmin(NewAccount):
    token: OneTimeToken = Field(examples=["dubsetup_…"])


@router.post(
    "/setup",
    status_code=201,
    summary="Make the first admin, and sign them in",
    response_model=SignedInAnswer,
    response_model_exclude_none=True,
    responses={
        400: problem("Not the token of the last start", "invalid_setup_token", "http_400"),
        409: TAKEN,
        410: problem("There is an admin, or the token is too old", "setup_closed", "setup_token_expired"),
        422: UNUSABLE_CHOICE,
        429: TOO_MANY,
        503: BUSY,
    },
)
async def first_admin(body: FirstAdmin, request: Request, service: FromApp) -> Response:
    """`dubline up` prints the token while there is no admin. Once there is one, this is closed for ever."""
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    accounts.throttle.check(throttle.SETUP, client.address)

    def create(connection: sqlite3.Connection, hashed: str) -> tuple[User, Opened]:
        user = setup.create_admin(connection, body.token, body.username, hashed, now)
        return user, sessions.open_session(connection, user.id, "setup", client, now)

    with accounts.audit.refusals(ANONYMOUS, "setup", client=client):
        await accounts.db.reading(lambda connection: setup.check(connection, body.token, now))
        hashed = await hashed_choice(accounts, body)
        user, opened = await accounts.db.writing(lambda connection: create(connection, hashed))
    await asyncio.to_thread(setup.forget_token, service.settings.layout)
    accounts.audit.record(user.id, "setup", about=user.id, client=client)
    return signing_in.answer(user, opened, service.settings, now, 201)
