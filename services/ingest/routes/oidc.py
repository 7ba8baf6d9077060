"""`/api/auth/oidc`: signing in with an OpenID provider, where one is configured.

Lives here: the routes, which a browser is sent through. Does not live here: the provider and its tokens
(`services.ingest.accounts.oidc_provider`), and whose account it is (`services.ingest.accounts.oidc`).

A browser that comes back is always sent on: to where it wanted to go, or to the sign-in page with `problem` in the
query, the same codes as everywhere. So the provider's code never stays in an address bar. The provider's word replaces
the password and nothing else: an account with a second factor of Dubline's own shows that, too.
"""

import sqlite3
import time
from typing import Annotated, Any
from urllib.parse import urlencode

import structlog
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

from services.ingest.accounts import oidc, second_factor, sessions, throttle, users
from services.ingest.accounts.accounts import Accounts
from services.ingest.accounts.audit import ANONYMOUS
from services.ingest.accounts.client import Client
from services.ingest.accounts.id_token import Identity, IdentityRefusedError
from services.ingest.accounts.oidc import Resumed
from services.ingest.accounts.oidc_provider import Provider, ProviderUnavailableError
from services.ingest.accounts.sessions import Opened
from services.ingest.accounts.users import User
from services.ingest.routes import signing_in
from services.ingest.routes.auth import CODE_MAX, TOO_MANY, end_one
from services.ingest.routes.context import FromApp, Service
from services.ingest.routes.factors import UNREADABLE
from services.ingest.routes.signing_in import NO_STORE, SignedInAnswer
from shared.access.current import WhoIfAny
from shared.openapi import problem
from shared.problems import Problem

LOGIN_PAGE = "/ui/login"
METHOD = "oidc"
TEXT_MAX = 4096
"""What providers put into `code` and `state` is at most a signed token."""

log = structlog.get_logger()
router = APIRouter(prefix="/api/auth/oidc", tags=["accounts"])


class SecondFactor(BaseModel):
    """One of both."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    totp: str | None = Field(None, max_length=CODE_MAX, examples=["123456"])
    recovery_code: str | None = Field(None, max_length=CODE_MAX, examples=[None])


FromProvider = Annotated[str, Query(max_length=TEXT_MAX)]
OFF = problem("No provider is configured", "oidc_off")
ON_THE_WAY: dict[str, Any] = {
    "status_code": 303,
    "response_class": RedirectResponse,
    "responses": {
        303: {"description": "On: to the provider, to the page that was wanted, or to the sign-in page with `problem`"},
        404: OFF,
        429: TOO_MANY,
    },
}
"""What is described of the two addresses that a browser is sent through."""


@router.get("/login", summary="Sign in with the configured provider", **ON_THE_WAY)
async def login(
    request: Request,
    service: FromApp,
    next: Annotated[str, Query(max_length=TEXT_MAX, examples=["/ui/"])] = oidc.DEFAULT_NEXT,  # noqa: A002 -- its name
) -> Response:
    """Sends the browser to the provider. `next` is a path of this site; anything else becomes `/ui/`."""
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    provider = _configured(accounts)
    accounts.throttle.check(throttle.OIDC, client.address)
    begun = await accounts.db.writing(lambda connection: oidc.begin(connection, oidc.local_path(next), now))
    try:
        address = await provider.authorization_url(begun.state, begun.nonce, begun.verifier)
    except ProviderUnavailableError as error:
        return _failed(accounts, client, "oidc_unavailable", str(error))
    response = RedirectResponse(address, 303, NO_STORE)
    _bind(response, service, begun.browser)
    return response


@router.get("/callback", summary="Come back from the provider", **ON_THE_WAY)
async def callback(
    request: Request,
    service: FromApp,
    who: WhoIfAny,
    state: FromProvider = "",
    code: FromProvider = "",
    error: FromProvider = "",
    iss: Annotated[str | None, Query(max_length=TEXT_MAX)] = None,
) -> Response:
    """Only the browser that began gets on, once, with the state that it was given.

    `problem` may be `oidc_state_invalid`, `oidc_refused`, `oidc_user_unknown`, `oidc_unavailable`.
    """
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    provider = _configured(accounts)
    accounts.throttle.check(throttle.OIDC, client.address)
    browser = request.cookies.get(cookie_name(service), "")
    resumed = await accounts.db.writing(lambda connection: oidc.resume(connection, state, browser, now))
    if resumed is None:
        return _failed(accounts, client, "oidc_state_invalid", "another browser, or a state that is old or used")
    try:
        identity = await _identified(service, provider, resumed, code, iss, refused=bool(error), now=now)
        user, opened, waits, created = await accounts.db.writing(
            lambda connection: _admit(connection, service, provider, identity, client, now)
        )
    except IdentityRefusedError as refusal:
        return _failed(accounts, client, refusal.code, str(refusal))
    except ProviderUnavailableError as failure:
        return _failed(accounts, client, "oidc_unavailable", str(failure))
    if created:
        accounts.audit.record(user.id, "user.created", about=user.id, client=client, method=METHOD, role=user.role)
    if opened is None:
        query = urlencode({"second_factor": METHOD, "next": resumed.next_path})
        response = RedirectResponse(f"{LOGIN_PAGE}?{query}", 303, NO_STORE)
        _bind(response, service, waits)
        return response
    if who is not None and who.kind == "session":
        await end_one(accounts, who.user, who.credential, now)
    accounts.audit.record(user.id, "login", about=user.id, client=client, method=METHOD, session=True)
    response = RedirectResponse(resumed.next_path, 303, NO_STORE)
    signing_in.set_session(response, service.settings, opened, now)
    _unbind(response, service)
    return response


@router.post(
    "/second_factor",
    summary="Show the second factor after the provider",
    response_model=SignedInAnswer,
    response_model_exclude_none=True,
    responses={
        401: problem("No code, or a wrong one", "totp_required", "totp_invalid"),
        404: OFF,
        409: problem("No sign-in of this browser waits for one", "oidc_state_invalid"),
        429: TOO_MANY,
        503: UNREADABLE,
    },
)
async def show_factor(body: SecondFactor, request: Request, service: FromApp, who: WhoIfAny) -> Response:
    """For an account with a second factor of its own; the sign-in waits ten minutes for it."""
    accounts, now, client = service.accounts, time.time(), Client.of(request)
    _configured(accounts)
    browser = request.cookies.get(cookie_name(service), "")
    user_id = await accounts.db.reading(lambda connection: oidc.waiting_user(connection, browser, now))
    if user_id is None:
        raise _nothing_waits()
    accounts.throttle.check(throttle.TOTP, user_id, client.address)

    def admit(connection: sqlite3.Connection) -> tuple[User, Opened]:
        user = users.existing(connection, user_id)
        if user.disabled or not oidc.finish(connection, browser):
            raise _nothing_waits()
        second_factor.verify(connection, accounts.sealer, user_id, body.totp, body.recovery_code, now)
        return user, sessions.open_session(connection, user_id, METHOD, client, now)

    with accounts.audit.refusals(ANONYMOUS, "login", about=user_id, client=client, method=METHOD):
        user, opened = await accounts.db.writing(admit)
    accounts.throttle.succeeded(throttle.TOTP, user_id, client.address)
    if who is not None and who.kind == "session":
        await end_one(accounts, who.user, who.credential, now)
    accounts.audit.record(user.id, "login", about=user.id, client=client, method=METHOD, session=True)
    response = signing_in.answer(user, opened, service.settings, now)
    _unbind(response, service)
    return response


def cookie_name(service: Service) -> str:
    """Return the name of the cookie that binds a sign-in to the browser that began it."""
    return "__Host-dubline-oidc" if service.settings.cookie_secure else "dubline-oidc"


async def _identified(
    service: Service, provider: Provider, resumed: Resumed, code: str, iss: str | None, *, refused: bool, now: float
) -> Identity:
    await provider.check_issuer(iss)
    if refused or not code:
        raise IdentityRefusedError("The provider did not sign this person in.")
    identity = await provider.identify(code, resumed.nonce, resumed.verifier, now)
    oidc.check_domain(identity, service.settings.oidc_domains)
    return identity


def _admit(
    connection: sqlite3.Connection, service: Service, provider: Provider, identity: Identity, client: Client, now: float
) -> tuple[User, Opened | None, str, bool]:
    """Return the user, and a session; or none and the secret of a wait for the second factor; and if they are new."""
    settings = service.settings
    create_as = settings.oidc_default_role if settings.oidc_create_users else None
    user, created = oidc.user_of(connection, provider.issuer, identity, create_as=create_as, now=now)
    if second_factor.required(connection, user.id):
        return user, None, oidc.wait_for_factor(connection, user.id, now), created
    return user, sessions.open_session(connection, user.id, METHOD, client, now), "", created


def _configured(accounts: Accounts) -> Provider:
    if accounts.provider is None:
        raise Problem(404, "oidc_off", "Nobody signs in with another service here: OIDC_ISSUER is not set.")
    return accounts.provider


def _nothing_waits() -> Problem:
    return Problem(409, "oidc_state_invalid", "No sign-in of this browser waits for a code. Begin again.")


def _failed(accounts: Accounts, client: Client, code: str, why: str) -> Response:
    log.warning("oidc_sign_in_failed", code=code, why=why)
    accounts.audit.record(ANONYMOUS, "login", outcome="failed", client=client, method=METHOD, reason=code)
    return RedirectResponse(f"{LOGIN_PAGE}?{urlencode({'problem': code})}", 303, NO_STORE)


def _bind(response: Response, service: Service, browser: str) -> None:
    response.set_cookie(
        cookie_name(service),
        browser,
        max_age=int(oidc.EXPIRES_S),
        path="/",
        secure=service.settings.cookie_secure,
        httponly=True,
        samesite="lax",  # the provider sends the browser back from another site
    )


def _unbind(response: Response, service: Service) -> None:
    response.delete_cookie(cookie_name(service), secure=service.settings.cookie_secure, httponly=True)
