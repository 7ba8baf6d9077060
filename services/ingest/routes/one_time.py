"""What the routes of one-time tokens share: set-up, invites, resets.

Lives here: the fields of their bodies, their refusals, and the address that a token is handed out in. Does not live
here: the tokens (`services.ingest.accounts`).
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.ingest.accounts import users
from services.ingest.accounts.accounts import Accounts
from services.ingest.accounts.passwords import check_new
from services.ingest.accounts.users import NAME_PATTERN
from services.ingest.routes.proving import NewPassword
from services.ingest.settings import IngestSettings
from shared.openapi import problem

TOKEN_MAX = 200
OneTimeToken = Annotated[str, Field(min_length=1, max_length=TOKEN_MAX)]

_PASSWORD = ("password_length", "password_common", "invalid_password", "invalid_request")
UNUSABLE_PASSWORD = problem("Not usable", *_PASSWORD)
UNUSABLE_CHOICE = problem("Not usable", "invalid_username", *_PASSWORD)
TAKEN = problem("Somebody has this name", "username_taken")


class NewAccount(BaseModel):
    """What a person chooses, whose token lets them make an account."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    username: Annotated[str, Field(examples=["maria"], json_schema_extra={"pattern": NAME_PATTERN})]
    password: NewPassword


async def hashed_choice(accounts: Accounts, body: NewAccount) -> str:
    """Return what is kept of the password. Raises Problem 422 for a name or password that cannot be chosen, 503."""
    users.check_name(body.username)
    check_new(body.password, body.username)
    return await accounts.passwords.hash(body.password)


def address_of(settings: IngestSettings, page: str, token: str) -> str:
    """Return the address to hand out. The token is behind the `#`, which no server's log gets to see."""
    return f"{settings.public_base_url.rstrip('/')}{page}#{token}"
