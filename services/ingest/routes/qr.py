"""`/auth/qr` and `/api/auth/qr`: a new device shows a code, a signed-in one lets it in (the direction of RFC 8628).

Lives here: the routes. Does not live here: the states and the races (`services.ingest.accounts.device_login`).

Who lets a device in needs a proof of the last five minutes, and where the account has a second factor a sign-in that
itself passed it: so no device gets in past TOTP. What gets in this way has proved nothing itself: it may change no
factor, key or password before it has.
"""

import sqlite3
import time
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from services.ingest.accounts import device_login, sessions, throttle, totp, users
from services.ingest.accounts.accounts import Accounts
from services.ingest.accounts.audit import ANONYMOUS
from services.ingest.accounts.client import Client
from services.ingest.accounts.confirmation import require_recent
from services.ingest.accounts.device_login import EXPIRES_S, INTERVAL_S, Polled, Verdict, Waiting
from services.ingest.accounts.sessions import Opened
from services.ingest.accounts.users import User
from services.ingest.routes import signing_in
from services.ingest.routes.auth import PREFIXES, TOO_MANY, Done, end_one
from services.ingest.routes.context import FromApp, Service
from services.ingest.routes.factors import SVG
from services.ingest.routes.qr_picture import svg_of
from services.ingest.routes.signing_in import NO_STORE, SignedInAnswer
from shared.access.current import Who, WhoIfAny
from shared.events.access import Outcome
from shared.openapi import problem
from shared.problems import Problem

PAGE = "/ui/qr"
USER_CODE = "BCDF-GHJK"
USER_CODE_TYPED_MAX = 32
DEVICE_CODE_MAX = 64
METHOD = "qr"

EXPLAINED = {
    "authorization_pending": "Nobody has let this device in yet. Ask again after the interval.",
    "slow_down": "This device asks too often. Wait five seconds longer from now on.",
    "access_denied": "This device was not let in. Begin again if that was a mistake.",
    "expired_token": "The five minutes are over. Begin again.",
    "invalid_grant": "This is no sign-in that this browser began, or it was used already. Begin again.",
}
"""RFC 8628, 3.5, and RFC 6749, 5.2."""

router = APIRouter(tags=["accounts"])
_twice = APIRouter()
_once = APIRouter(prefix="/api/auth")


class QrBegun(BaseModel):
    """RFC 8628, 3.2, with a picture of `verification_uri_complete`, and the number that the other device asks for."""

    device_code: str = Field(examples=["4vHc1GmYx0mZr7sQd3nJt9bKwP5aLfE2uTiOySgX8hV"])
    user_code: str = Field(examples=[USER_CODE])
    verification_uri: str = Field(examples=[f"https://dubline.example.org{PAGE}"])
    verification_uri_complete: str = Field(examples=[f"https://dubline.example.org{PAGE}?user_code={USER_CODE}"])
    qr_svg: str = Field(examples=[SVG])
    number: str = Field(examples=["42"])
    expires_in: int = Field(examples=[300])
    interval: int = Field(examples=[5], description="Seconds between two questions.")


class DeviceCode(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    device_code: str = Field(min_length=1, max_length=DEVICE_CODE_MAX, examples=["4vHc1GmYx0mZr7sQd3nJt9bKwP5aLfE2"])


class QrWaiting(BaseModel):
    """What asks to be let in. Its number is not told: whoever lets it in reads that from its screen."""

    user_code: str = Field(examples=[USER_CODE])
    device: str = Field(examples=["Mozilla/5.0 (X11; Linux x86_64)"], description="What it says it is.")
    address: str = Field(examples=["203.0.113.7"])
    age_s: int = Field(examples=[12])
    expires_in: int = Field(examples=[288])


class QrApproval(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    user_code: str = Field(min_length=1, max_length=USER_CODE_TYPED_MAX, examples=[USER_CODE])
    number: str = Field(max_length=2, examples=["42"], description="What the new device shows.")


class QrDenial(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    user_code: str = Field(min_length=1, max_length=USER_CODE_TYPED_MAX, examples=[USER_CODE])


UserCode = Annotated[str, Path(max_length=USER_CODE_TYPED_MAX, examples=[USER_CODE])]
NOT_FOUND = problem("No device waits with this code", "qr_not_found")
ANSWERED = problem("Somebody has answered already", "qr_already_answered")


def cookie_name(service: Service) -> str:
    """Return the name of the cookie that binds a request to the browser that made it."""
    return "__Host-dubline-qr" if service.settings.cookie_secure else "dubline-qr"


@_twice.post("/qr/init", summary="Begin to sign in a new device", response_model=QrBegun, responses={429: TOO_MANY})
async def begin(request: Request, service: FromApp) -> Response:
    """For the device that nobody is signed in on. It shows the code and the number, and asks `qr/redeem` till it is in.

    A cookie binds it to this browser: the codes alone are worth nothing elsewhere.
    """
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    accounts.throttle.check(throttle.QR_START, client.address)
    begun = await accounts.db.writing(lambda connection: device_login.begin(connection, client, now))
    page = (service.settings.public_base_url or str(request.base_url)).rstrip("/") + PAGE
    user_code = device_login.grouped(begun.user_code)
    complete = f"{page}?user_code={user_code}"
    accounts.audit.record(ANONYMOUS, "qr.started", client=client)
    body = QrBegun(
        device_code=begun.device_code,
        user_code=user_code,
        verification_uri=page,
        verification_uri_complete=complete,
        qr_svg=await svg_of(complete),
        number=begun.number,
        expires_in=int(EXPIRES_S),
        interval=int(INTERVAL_S),
    )
    response = JSONResponse(body.model_dump(), headers=NO_STORE)
    response.set_cookie(
        cookie_name(service),
        begun.browser,
        max_age=int(EXPIRES_S),
        path="/",
        secure=service.settings.cookie_secure,
        httponly=True,
        samesite="strict",
    )
    return response


@_twice.post(
    "/qr/redeem",
    summary="Ask whether this device is let in",
    response_model=SignedInAnswer,
    response_model_exclude_none=True,
    responses={400: problem("Not yet, or not at all (RFC 8628, 3.5)", *EXPLAINED), 429: TOO_MANY},
)
async def redeem(body: DeviceCode, request: Request, service: FromApp, who: WhoIfAny) -> Response:
    """Once it is, the answer sets a session's cookie. `interval` of a refusal says how long to wait."""
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    accounts.throttle.check(throttle.QR_POLL, client.address)
    browser = request.cookies.get(cookie_name(service), "")

    def ask(connection: sqlite3.Connection) -> tuple[Polled, User | None, Opened | None]:
        polled = device_login.redeem(connection, body.device_code, browser, now)
        if polled.user_id is None:
            return polled, None, None
        opened = sessions.open_session(connection, polled.user_id, METHOD, client, now)
        sessions.forget_proof(connection, opened.session_id)  # this device proved nothing itself
        return polled, users.existing(connection, polled.user_id), opened

    polled, user, opened = await accounts.db.writing(ask)
    if user is None or opened is None:
        if polled.error in ("access_denied", "invalid_grant"):
            reason = polled.error
            accounts.audit.record(ANONYMOUS, "login", outcome="failed", client=client, method=METHOD, reason=reason)
        raise Problem(400, polled.error, EXPLAINED[polled.error], interval=int(polled.interval_s))
    if who is not None and who.kind == "session":
        await end_one(accounts, who.user, who.credential, now)
    accounts.audit.record(user.id, "login", about=user.id, client=client, method=METHOD, session=True)
    response = signing_in.answer(user, opened, service.settings, now)
    response.delete_cookie(cookie_name(service), secure=service.settings.cookie_secure, httponly=True)
    return response


@_once.get(
    "/qr/waiting/{user_code}",
    summary="What asks to be let in",
    responses={404: NOT_FOUND, 422: problem("Not what is described here", "invalid_request"), 429: TOO_MANY},
)
async def waiting(user_code: UserCode, response: Response, service: FromApp, who: Who) -> QrWaiting:
    """For the person who is to let it in. Looking changes nothing."""
    accounts, now = service.accounts, time.time()
    accounts.throttle.check(throttle.QR_APPROVE, who.user)
    found: Waiting | None = await accounts.db.reading(
        lambda connection: device_login.waiting(connection, user_code, now)
    )
    if found is None:
        raise _refusal(Verdict.UNKNOWN)
    response.headers.update(NO_STORE)
    return QrWaiting(
        user_code=found.user_code,
        device=found.agent,
        address=found.address,
        age_s=int(found.age_s),
        expires_in=int(found.expires_in_s),
    )


@_once.post(
    "/qr/approve",
    summary="Let a new device in",
    responses={
        403: problem(
            "Prove again who you are; or sign in again, with the second factor; or the number was wrong",
            *("confirmation_required", "second_factor_needed", "qr_number_wrong"),
        ),
        404: NOT_FOUND,
        409: ANSWERED,
        429: TOO_MANY,
    },
)
async def approve(body: QrApproval, request: Request, service: FromApp, who: Who) -> Done:
    """As oneself, with the number that it shows. A wrong number refuses the device for good."""
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    accounts.throttle.check(throttle.QR_APPROVE, who.user)
    require_recent(who, now)

    def answer(connection: sqlite3.Connection) -> tuple[Verdict | None, Waiting | None]:
        asks = device_login.waiting(connection, body.user_code, now)
        if not totp.passed_by(connection, who.user, who.credential):
            return None, asks
        verdict = device_login.approve(connection, body.user_code, body.number, who.user, who.credential, now)
        return verdict, asks

    verdict, asks = await accounts.db.writing(answer)
    _audit(accounts, who.user, "qr.approved", client, asks, succeeded=verdict is Verdict.DONE)
    if verdict is None:
        detail = "This sign-in is older than your second factor and has not passed it. Sign in again with a code."
        raise Problem(403, "second_factor_needed", detail)
    if verdict is not Verdict.DONE:
        raise _refusal(verdict)
    return Done()


@_once.post("/qr/deny", summary="Keep a new device out", responses={404: NOT_FOUND, 409: ANSWERED, 429: TOO_MANY})
async def deny(body: QrDenial, request: Request, service: FromApp, who: Who) -> Done:
    """It needs neither the number nor a proof: refusing is always safe."""
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    accounts.throttle.check(throttle.QR_APPROVE, who.user)

    def answer(connection: sqlite3.Connection) -> tuple[Verdict, Waiting | None]:
        asks = device_login.waiting(connection, body.user_code, now)
        return device_login.deny(connection, body.user_code, now), asks

    verdict, asks = await accounts.db.writing(answer)
    _audit(accounts, who.user, "qr.denied", client, asks, succeeded=verdict is Verdict.DONE)
    if verdict is not Verdict.DONE:
        raise _refusal(verdict)
    return Done()


def _audit(
    accounts: Accounts, user: str, action: str, client: Client, asks: Waiting | None, *, succeeded: bool
) -> None:
    device = {} if asks is None else {"device_address": asks.address, "device_agent": asks.agent}
    outcome: Outcome = "succeeded" if succeeded else "refused"
    accounts.audit.record(user, action, outcome=outcome, about=user, client=client, **device)


def _refusal(verdict: Verdict) -> Problem:
    match verdict:
        case Verdict.ANSWERED:
            return Problem(409, "qr_already_answered", "This device has its answer already.")
        case Verdict.WRONG_NUMBER:
            detail = "This is not the number on the new device, which is refused now. Begin again on it."
            return Problem(403, "qr_number_wrong", detail)
        case _:
            return Problem(404, "qr_not_found", "No device waits with this code. It lives for five minutes.")


for _prefix in PREFIXES:
    router.include_router(_twice, prefix=_prefix)
router.include_router(_once)
