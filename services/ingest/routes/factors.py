"""`/auth/totp` and `/api/auth/totp`: the second factor of one's own account, and its recovery codes.

Lives here: the routes. Does not live here: the factor itself (`services.ingest.accounts.totp`), and showing it at a
sign-in (`routes.auth`, `routes.oidc`).
"""

import sqlite3
import time

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from services.ingest.accounts import devices, recovery, second_factor, throttle, totp
from services.ingest.accounts.accounts import Accounts
from services.ingest.accounts.client import Client
from services.ingest.accounts.confirmation import require_recent
from services.ingest.accounts.sealer import SealedFieldError
from services.ingest.accounts.totp import Enrolment, State
from services.ingest.routes.auth import CODE_MAX, NOT_CONFIRMED, PREFIXES, TOO_MANY
from services.ingest.routes.context import FromApp
from services.ingest.routes.qr_picture import svg_of
from services.ingest.routes.signing_in import NO_STORE, time_of
from shared.access.current import Who
from shared.access.principal import Principal
from shared.access.resolution import Revoked
from shared.events.envelope import Timestamp
from shared.openapi import problem
from shared.problems import Problem

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"  # noqa: S105 -- an example
RECOVERY_CODE = "7Q4Z0K-M2X9RA-C5TD1W-8HJ6VN"
SVG = '<svg width="164" height="164"><path d="M4 4.5h7"/></svg>'

NOT_ENABLED = problem("This account has no second factor", "totp_not_enabled")
WRONG_CODE = problem("Wrong, too old, or used before", "totp_invalid")
UNREADABLE = problem("The key file of this installation is another one", "second_factor_unavailable")

router = APIRouter(tags=["accounts"])
_twice = APIRouter()
_once = APIRouter(prefix="/api/auth")


class TotpState(BaseModel):
    """`pending`: a new factor waits for its first code; what holds goes on holding until then."""

    enabled: bool
    confirmed_at: Timestamp | None
    pending: bool = Field(examples=[False])
    recovery_codes_left: int = Field(examples=[10])


class TotpSetup(BaseModel):
    """Shown once. `qr_svg` is `uri` as a picture."""

    secret: str = Field(examples=[SECRET])
    uri: str = Field(examples=[f"otpauth://totp/Dubline:maria?secret={SECRET}&issuer=Dubline"])
    qr_svg: str = Field(examples=[SVG])
    recovery_codes: list[str] = Field(examples=[[RECOVERY_CODE]])


class TotpCode(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    code: str = Field(min_length=1, max_length=CODE_MAX, examples=["123456"])


class TotpOrRecovery(BaseModel):
    """One of both."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    code: str | None = Field(None, max_length=CODE_MAX, examples=["123456"])
    recovery_code: str | None = Field(None, max_length=CODE_MAX, examples=[None])


class FactorChanged(BaseModel):
    """`ended` sign-ins elsewhere are over: a factor changed, so everybody proves themselves anew."""

    ok: bool = True
    ended: int = Field(examples=[2])


class RecoveryCodes(BaseModel):
    """Shown once; those before are worth nothing."""

    recovery_codes: list[str] = Field(examples=[[RECOVERY_CODE]])


@_once.get("/totp", summary="Whether this account has a second factor")
async def state(service: FromApp, who: Who) -> TotpState:
    """Of one's own account."""
    now = time.time()
    found: State = await service.accounts.db.reading(lambda connection: totp.state(connection, who.user, now))
    return TotpState(
        enabled=found.enabled,
        confirmed_at=None if found.confirmed_at is None else time_of(found.confirmed_at),
        pending=found.pending,
        recovery_codes_left=found.recovery_codes_left,
    )


@_twice.post("/totp/setup", summary="Begin a new second factor", responses={403: NOT_CONFIRMED, 429: TOO_MANY})
async def setup(request: Request, response: Response, service: FromApp, who: Who) -> TotpSetup:
    """For every role. It holds when POST totp/verify proves it; one that holds already does so until then."""
    accounts, now = service.accounts, time.time()
    require_recent(who, now)
    accounts.throttle.check(throttle.FACTORS, who.user)
    begun: Enrolment = await accounts.db.writing(
        lambda connection: totp.begin(connection, accounts.sealer, who.user, who.name, now)
    )
    accounts.audit.record(who.user, "totp.setup", about=who.user, client=Client.of(request))
    response.headers.update(NO_STORE)
    return TotpSetup(
        secret=begun.secret, uri=begun.uri, qr_svg=await svg_of(begun.uri), recovery_codes=begun.recovery_codes
    )


@_twice.post(
    "/totp/verify",
    summary="Put the new second factor into force",
    responses={
        401: WRONG_CODE,
        409: problem("No new factor waits", "totp_not_pending"),
        429: TOO_MANY,
        503: UNREADABLE,
    },
)
async def verify(body: TotpCode, request: Request, service: FromApp, who: Who) -> FactorChanged:
    """With a code of it. Every other sign-in of this account ends; the recovery codes of the set-up count from now."""
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    accounts.throttle.check(throttle.TOTP, who.user, client.address)

    def confirm(connection: sqlite3.Connection) -> tuple[bool | None, frozenset[str]]:
        confirmed = totp.confirm(connection, accounts.sealer, who.user, body.code, who.credential, now)
        if not confirmed:
            return confirmed, frozenset()
        return confirmed, devices.end_all(connection, who.user, now, keep=who.credential)  # ASVS 5.0 7.4.3

    try:
        confirmed, ended = await accounts.db.writing(confirm)
    except SealedFieldError as error:
        raise second_factor.unavailable() from error
    if confirmed is None:
        accounts.throttle.succeeded(throttle.TOTP, who.user, client.address)
        raise Problem(409, "totp_not_pending", "No new factor waits. Begin with POST /api/auth/totp/setup.")
    if not confirmed:
        accounts.audit.record(who.user, "totp.enabled", outcome="failed", about=who.user, client=client)
        raise second_factor.invalid()
    accounts.throttle.succeeded(throttle.TOTP, who.user, client.address)
    return await _changed(accounts, who, "totp.enabled", client, ended)


@_once.post(
    "/totp/disable",
    summary="Give up the second factor",
    responses={
        401: problem("No code, or a wrong one", "totp_required", "totp_invalid"),
        403: NOT_CONFIRMED,
        409: NOT_ENABLED,
        429: TOO_MANY,
        503: UNREADABLE,
    },
)
async def disable(body: TotpOrRecovery, request: Request, service: FromApp, who: Who) -> FactorChanged:
    """With a code, or a recovery code. Every other sign-in of this account ends."""
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    require_recent(who, now)
    accounts.throttle.check(throttle.TOTP, who.user, client.address)

    def remove(connection: sqlite3.Connection) -> frozenset[str]:
        _require_enabled(connection, who)
        second_factor.verify(connection, accounts.sealer, who.user, body.code, body.recovery_code, now)
        totp.remove(connection, who.user)
        return devices.end_all(connection, who.user, now, keep=who.credential)

    with accounts.audit.refusals(who.user, "totp.disabled", about=who.user, client=client):
        ended = await accounts.db.writing(remove)
    accounts.throttle.succeeded(throttle.TOTP, who.user, client.address)
    return await _changed(accounts, who, "totp.disabled", client, ended)


@_once.post(
    "/totp/recovery_codes",
    summary="Make new recovery codes",
    responses={403: NOT_CONFIRMED, 409: NOT_ENABLED, 429: TOO_MANY},
)
async def recovery_codes(request: Request, response: Response, service: FromApp, who: Who) -> RecoveryCodes:
    """Ten of them. All that were made before are worth nothing from now on."""
    accounts, now = service.accounts, time.time()
    require_recent(who, now)
    accounts.throttle.check(throttle.FACTORS, who.user)
    codes = recovery.new_codes()

    def replace(connection: sqlite3.Connection) -> None:
        _require_enabled(connection, who)
        recovery.replace(connection, who.user, map(recovery.code_hash, codes))

    await accounts.db.writing(replace)
    accounts.audit.record(who.user, "recovery_codes.renewed", about=who.user, client=Client.of(request))
    response.headers.update(NO_STORE)
    return RecoveryCodes(recovery_codes=codes)


def _require_enabled(connection: sqlite3.Connection, who: Principal) -> None:
    if not second_factor.required(connection, who.user):
        raise Problem(409, "totp_not_enabled", "This account has no second factor.")


async def _changed(
    accounts: Accounts, who: Principal, action: str, client: Client, ended: frozenset[str]
) -> FactorChanged:
    await accounts.revocations.revoke(Revoked(credentials=ended))
    accounts.audit.record(who.user, action, about=who.user, client=client, ended=len(ended))
    return FactorChanged(ended=len(ended))


for _prefix in PREFIXES:
    router.include_router(_twice, prefix=_prefix)
router.include_router(_once)
