"""`GET` and `POST /keys`, `POST /keys/{id}/revoke`, `DELETE /keys/{id}`, and the same below `/api`: API keys.

Lives here: the routes, and who may do what to whose keys. Does not live here: the rows
(`services.ingest.accounts.keys`).
"""

import sqlite3
import time
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.ingest.accounts import keys, throttle, users
from services.ingest.accounts.client import Client
from services.ingest.accounts.confirmation import require_recent
from services.ingest.accounts.keys import DEFAULT_DAYS, LONGEST_DAYS, Key, Wanted
from services.ingest.routes.auth import NOT_CONFIRMED, TOO_MANY
from services.ingest.routes.context import FromApp
from services.ingest.routes.patterns import words
from services.ingest.routes.signing_in import NO_STORE
from shared.access.current import Who
from shared.access.principal import Principal, Scope
from shared.access.resolution import Revoked
from shared.curation import NAME_MAX_CHARS, clean_name
from shared.events.envelope import Timestamp
from shared.openapi import problem
from shared.problems import Problem

PREFIXES = ("/keys", "/api/keys")
"""The predecessor has them without /api."""
NETWORKS_MAX = 16
KEY_EXAMPLE = "k0123456789abcdef"
USER_EXAMPLE = "u_0123456789abcdef"

router = APIRouter(tags=["accounts"])
_twice = APIRouter()

KeyId = Annotated[str, Path(json_schema_extra={"pattern": keys.ID_PATTERN}, examples=[KEY_EXAMPLE])]
UNKNOWN: dict[int | str, dict[str, Any]] = {403: NOT_CONFIRMED, 404: problem("Unknown key", "key_not_found")}


def _network(text: str) -> str:
    return str(ip_network(text.strip()))


class NewKey(BaseModel):
    """What is not sent has its default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user_id: str | None = Field(
        None,
        examples=[None],
        description="Whose key it shall be; another user's can only be made by an admin. Not set: one's own.",
        json_schema_extra={"pattern": users.ID_PATTERN},
    )
    scopes: list[Scope] = Field(
        ["read:job"],
        min_length=1,
        max_length=8,
        examples=[["read:job", "submit:job"]],
        description="What it may do; it never may more than its owner.",
    )
    name: Annotated[str, AfterValidator(lambda name: name and clean_name(name))] = Field(
        "", max_length=NAME_MAX_CHARS, examples=["nightly uploads"]
    )
    networks: list[Annotated[str, AfterValidator(_network)]] = Field(
        [],
        max_length=NETWORKS_MAX,
        examples=[["192.168.1.0/24"]],
        description="From where it may be used; empty: from anywhere.",
    )
    expires_in_days: int = Field(DEFAULT_DAYS, ge=1, le=LONGEST_DAYS, examples=[DEFAULT_DAYS])


class KeyAnswer(BaseModel):
    """A key as far as it may be shown again."""

    id: str = Field(examples=[KEY_EXAMPLE])
    prefix: str = Field(examples=[f"dub_{KEY_EXAMPLE}"], description="How the key begins, to find it where it is used.")
    user_id: str = Field(examples=[USER_EXAMPLE])
    name: str = Field(examples=["nightly uploads"], json_schema_extra=words(NAME_MAX_CHARS) | {"minLength": 0})
    scopes: list[Scope] = Field(examples=[["read:job", "submit:job"]])
    networks: list[str] = Field(examples=[["192.168.1.0/24"]])
    created_at: Timestamp
    expires_at: Timestamp
    last_used_at: Timestamp | None = Field(examples=[None], description="To the minute.")
    revoked_at: Timestamp | None = Field(examples=[None])

    @classmethod
    def fields_of(cls, key: Key) -> dict[str, Any]:
        times = {
            name: None if seconds is None else datetime.fromtimestamp(seconds, UTC)
            for name in ("created_at", "expires_at", "last_used_at", "revoked_at")
            for seconds in [getattr(key, name)]
        }
        return {
            "id": key.id,
            "prefix": key.prefix,
            "user_id": key.user_id,
            "name": key.name,
            "scopes": list(key.scopes),
            "networks": list(key.networks),
            **times,
        }


class MadeKey(KeyAnswer):
    """`key` is shown here and never again."""

    key: str = Field(examples=[f"dub_{KEY_EXAMPLE}_…"])


class KeyList(BaseModel):
    items: list[KeyAnswer]


class RevokedKey(BaseModel):
    ok: Literal[True] = True
    id: str = Field(examples=[KEY_EXAMPLE])


@_twice.get("", summary="List API keys", responses={403: problem("Others' keys are an admin's", "admin_needed")})
async def list_keys(
    who: Who,
    response: Response,
    service: FromApp,
    user_id: Annotated[str | None, Query(json_schema_extra={"pattern": users.ID_PATTERN}, examples=[None])] = None,
) -> KeyList:
    """One's own, the newest first; an admin sees everybody's, or those of `user_id`. Keys that cannot be used any more
    stay for a month."""
    if user_id not in (None, who.user) and not who.administers:
        raise _admin_needed()
    owner = user_id or (None if who.administers else who.user)
    response.headers.update(NO_STORE)
    found = await service.accounts.db.reading(lambda connection: keys.listed(connection, owner))
    return KeyList(items=[KeyAnswer(**KeyAnswer.fields_of(key)) for key in found])


@_twice.post(
    "",
    status_code=201,
    summary="Make an API key",
    responses={
        403: problem(
            "Not for this user, or not with these scopes, or not without a fresh confirmation",
            *("confirmation_required", "scope_not_granted", "admin_needed"),
        ),
        404: problem("Unknown user", "user_not_found"),
        409: problem("The user is disabled, or has too many keys", "user_disabled", "too_many_keys"),
        429: TOO_MANY,
    },
)
async def create(body: NewKey, who: Who, request: Request, response: Response, service: FromApp) -> MadeKey:
    """For a program: it sends the key in X-Api-Key. Neither a key nor its maker can make more of it later."""
    accounts, now = service.accounts, time.time()
    require_recent(who, now)
    accounts.throttle.check(throttle.KEY_CREATE, who.user)
    owner = body.user_id or who.user
    if owner != who.user and not who.administers:
        raise _admin_needed()
    wanted = Wanted(frozenset(body.scopes), body.name, tuple(body.networks), body.expires_in_days)
    made, key = await accounts.db.writing(lambda connection: keys.create(connection, owner, wanted, now))
    accounts.audit.record(
        *(who.user, "key.created"),
        about=owner,
        client=Client.of(request),
        key_id=made.id,
        scopes=" ".join(made.scopes),
        days=wanted.days,
    )
    response.headers.update(NO_STORE)
    return MadeKey(**KeyAnswer.fields_of(made), key=key)


@_twice.post("/{key_id}/revoke", summary="Revoke an API key", responses=UNKNOWN)
async def revoke(key_id: KeyId, who: Who, request: Request, service: FromApp) -> RevokedKey:
    """From now on it is refused everywhere, and what runs with it ends. Revoking it again changes nothing."""
    now = time.time()
    require_recent(who, now)
    accounts = service.accounts

    def work(connection: sqlite3.Connection) -> tuple[Key, bool]:
        key = keys.by_id(connection, key_id)
        if key is None or not _theirs(who, key):
            raise Problem(404, "key_not_found", "There is no key with this id, or it is not yours.")
        return key, keys.revoke(connection, key_id, now)

    key, first = await accounts.db.writing(work)
    if first:
        accounts.audit.record(who.user, "key.revoked", about=key.user_id, client=Client.of(request), key_id=key.id)
        await accounts.revocations.revoke(Revoked(credentials=frozenset({key.id})))
    return RevokedKey(id=key.id)


_twice.delete("/{key_id}", summary="Revoke an API key", responses=UNKNOWN, name="delete_key")(revoke)


def _theirs(who: Principal, key: Key) -> bool:
    return who.administers or key.user_id == who.user


def _admin_needed() -> Problem:
    return Problem(403, "admin_needed", "Only an admin may see or make the keys of somebody else.")


for prefix in PREFIXES:
    router.include_router(_twice, prefix=prefix)
