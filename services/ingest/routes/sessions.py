"""`/auth/sessions` and `/api/auth/sessions`: where one is signed in, and ending it.

Lives here: the routes. Does not live here: what a sign-in is (`services.ingest.accounts.devices`), API keys
(`routes.keys`).
"""

import time
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from services.ingest.accounts import devices
from services.ingest.accounts.client import Client
from services.ingest.accounts.confirmation import require_recent
from services.ingest.accounts.devices import Device, Kind
from services.ingest.routes.auth import NOT_CONFIRMED, PREFIXES, Done, end_one
from services.ingest.routes.context import FromApp
from services.ingest.routes.signing_in import time_of
from shared.access.current import Who
from shared.access.resolution import Revoked
from shared.events.envelope import Timestamp
from shared.openapi import problem
from shared.problems import Problem

EXAMPLE = "ses_0123456789abcdef"
ID_PATTERN = r"^(ses|fam)_[0-9a-f]{16}$"

DeviceId = Annotated[str, Path(json_schema_extra={"pattern": ID_PATTERN}, examples=[EXAMPLE])]

router = APIRouter(tags=["accounts"])
_twice = APIRouter(prefix="/sessions")


class SignIn(BaseModel):
    """One place where this user is signed in; the first five members but one are what the predecessor tells."""

    device_id: str = Field(examples=[EXAMPLE])
    device_name: str = Field(examples=["Maria's laptop"], description="As the device said; may be empty.")
    kind: Kind = Field(description="A browser's session, or a program's tokens.")
    current: bool = Field(description="The one that asks.")
    created_at: Timestamp
    last_used_at: Timestamp = Field(description="To the minute.")
    expires_at: Timestamp = Field(description="At the latest.")
    created_ip: str = Field(examples=["192.0.2.7"])
    last_ip: str = Field(
        examples=["192.0.2.7"], description="Of a session where it signed in, of a program's tokens its last refresh."
    )
    user_agent: str = Field(examples=["Mozilla/5.0"])

    @classmethod
    def of(cls, device: Device, current: str) -> "SignIn":
        return cls(
            device_id=device.id,
            device_name=device.name,
            kind=device.kind,
            current=device.id == current,
            created_at=time_of(device.created_at),
            last_used_at=time_of(device.last_used_at),
            expires_at=time_of(device.expires_at),
            created_ip=device.created_ip,
            last_ip=device.last_ip,
            user_agent=device.agent,
        )


class SignIns(BaseModel):
    items: list[SignIn]


class AllEnded(Done):
    ended: int = Field(examples=[3])


@_twice.get("", summary="Where one is signed in")
async def sign_ins(service: FromApp, who: Who) -> SignIns:
    """The last used first. API keys are in /api/keys."""
    found = await service.accounts.db.reading(lambda connection: devices.of_user(connection, who.user, time.time()))
    return SignIns(items=[SignIn.of(device, who.credential) for device in found])


@_twice.post(
    "/revoke_all",
    summary="End every other sign-in",
    responses={403: NOT_CONFIRMED},
)
async def revoke_all(request: Request, service: FromApp, who: Who) -> AllEnded:
    """All but the one that asks, which `logout` ends. They are refused everywhere at once. API keys stay."""
    accounts, now = service.accounts, time.time()
    require_recent(who, now)
    ended = await accounts.db.writing(
        lambda connection: devices.end_all(connection, who.user, now, keep=who.credential)
    )
    await accounts.revocations.revoke(Revoked(credentials=ended))
    accounts.audit.record(who.user, "session.revoked_all", about=who.user, client=Client.of(request), ended=len(ended))
    return AllEnded(ended=len(ended))


@_twice.post(
    "/{device_id}/revoke",
    summary="End one sign-in",
    responses={404: problem("None of this user's", "device_not_found")},
)
async def revoke(device_id: DeviceId, request: Request, service: FromApp, who: Who) -> Done:
    """It is refused everywhere at once."""
    accounts = service.accounts
    if not await end_one(accounts, who.user, device_id, time.time()):
        raise Problem(404, "device_not_found", "You are not signed in there, or not any more.")
    accounts.audit.record(who.user, "session.revoked", about=device_id, client=Client.of(request))
    return Done()


for _prefix in PREFIXES:
    router.include_router(_twice, prefix=_prefix)
