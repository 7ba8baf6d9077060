"""`POST /auth/refresh` and `/api/auth/refresh`: going on without signing in again.

Lives here: the routes. Does not live here: rotation (`services.ingest.accounts.tokens`), and the first tokens, which
are an answer to a sign-in (`routes.auth`). For API clients alone: a browser has a session, which needs no refreshing,
so there is no cookie here that another site's page could use.
"""

import time
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from services.ingest.accounts.client import Client
from services.ingest.routes.auth import PREFIXES, TOO_MANY
from services.ingest.routes.context import FromApp
from services.ingest.routes.signing_in import NO_STORE
from shared.openapi import problem

TOKEN_MAX_CHARS = 128

router = APIRouter(tags=["accounts"])
_twice = APIRouter()


class Refresh(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    refresh_token: str = Field(min_length=1, max_length=TOKEN_MAX_CHARS, examples=["dubr_…"])


class Tokens(BaseModel):
    """Both are shown once. The refresh token takes the place of the one that was sent."""

    access_token: str = Field(examples=["duba_…"])
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 -- a word of RFC 6750
    expires_in: int = Field(examples=[900], description="Seconds until the access token ends.")
    refresh_token: str = Field(examples=["dubr_…"])
    refresh_expires_in: int = Field(
        examples=[2592000], description="Seconds until the refresh token ends; 90 days after the sign-in all do."
    )


@_twice.post(
    "/refresh",
    summary="Exchange a refresh token for new tokens",
    responses={
        401: problem("Unknown, expired, revoked or used: sign in again", "refresh_invalid"),
        429: TOO_MANY,
    },
)
async def refresh(body: Refresh, request: Request, response: Response, service: FromApp) -> Tokens:
    """A refresh token counts once. Sent again within ten seconds, as after a lost answer, it gets the same answer; sent
    later, it was stolen as far as anybody can tell, and everything that came of the same sign-in ends."""
    response.headers.update(NO_STORE)
    issued = await service.accounts.refreshing.refresh(body.refresh_token, Client.of(request))
    now = time.time()
    return Tokens(
        access_token=issued.access,
        expires_in=max(0, round(issued.expires_at - now)),
        refresh_token=issued.refresh,
        refresh_expires_in=max(0, round(issued.refresh_expires_at - now)),
    )


for prefix in PREFIXES:
    router.include_router(_twice, prefix=prefix)
