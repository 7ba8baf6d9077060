"""The pages of accounts: signing in, the first admin, an invite, a forgotten password, a new device, one's own account,
and for administrators the users and the audit trail.

Lives here: which there are, and what they are given. Accounts are ingest's: what these pages show of them, their
scripts ask of its API. Does not live here: who may open which (`services.library.access`).
"""

from dataclasses import dataclass
from typing import get_args
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from services.library.pages.jobs import PATH
from services.library.pages.rendering import page
from services.library.pages.words import SIGN_IN_PROBLEMS
from shared.access.current import Who, WhoIfAny
from shared.access.principal import ROLES, SCOPES
from shared.events.access import Outcome

LOGIN = "/ui/login"
APPROVE = "/ui/qr/approve"
NEXT_MAX = 2048
NOT_KEPT = {"Cache-Control": "no-store"}

router = APIRouter()


@dataclass(frozen=True)
class TokenPage:
    """A page that turns a one-time token, which is behind the `#` of its address, into a way in."""

    kind: str
    title: str
    lead: str
    button: str
    token_hint: str
    named: bool = True
    """Whether a user name is chosen, too."""


SETUP = TokenPage(
    "setup",
    "Make the first admin",
    "Nobody can sign in yet. Whoever holds the set-up token makes the account that administers Dubline.",
    "Make the account",
    "Dubline prints it when it starts, and keeps it in the file secrets/setup-token of its data directory.",
)
INVITE = TokenPage(
    "invite",
    "Make your account",
    "You were invited. Choose the name and the password that you will sign in with.",
    "Make my account",
    "It is the end of the link that you were given, behind the #.",
)
RESET = TokenPage(
    "reset",
    "Choose another password",
    "Every place where you are signed in now will ask for the new one.",
    "Change my password",
    "It is the end of the link that you were given, behind the #.",
    named=False,
)


def local_path(wanted: str) -> str:
    """Return `wanted` if a browser can only take it for a path of this site, else the library's: no open redirect."""
    if len(wanted) > NEXT_MAX or not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted:
        return PATH
    return wanted if all("!" <= character <= "~" for character in wanted) else PATH


@router.get("/ui/")
async def start() -> Response:
    return RedirectResponse(PATH, headers=NOT_KEPT)


@router.get(LOGIN)
async def login_page(
    request: Request,
    who: WhoIfAny,
    next: str = "",  # noqa: A002 -- its name in the address
    problem: str = "",
    second_factor: str = "",
    reset: str = "",
) -> Response:
    """Name and password, then a code where the account asks for one; or another service, or another device."""
    path = local_path(next)
    if who is not None and who.kind == "session" and not second_factor:
        return RedirectResponse(path, 303, NOT_KEPT)
    return page(
        request.scope,
        "login.html",
        next=path,
        problem=SIGN_IN_PROBLEMS.get(problem, ""),
        code_only=second_factor == "oidc",
        was_reset=bool(reset),
    )


@router.get("/ui/setup")
async def setup_page(request: Request) -> Response:
    return page(request.scope, "token.html", about=SETUP)


@router.get("/ui/invite")
async def invite_page(request: Request) -> Response:
    return page(request.scope, "token.html", about=INVITE)


@router.get("/ui/reset")
async def reset_page(request: Request) -> Response:
    return page(request.scope, "token.html", about=RESET)


@router.get("/ui/qr")
async def new_device_page(request: Request, who: WhoIfAny, user_code: str = "") -> Response:
    """On the new device: what the other one scans. Whoever scanned it, or is signed in, goes on to let it in."""
    if user_code or who is not None:
        asked = f"?code={quote(user_code, safe='')}" if user_code else ""
        return RedirectResponse(APPROVE + asked, 303, NOT_KEPT)
    return page(request.scope, "qr.html")


@router.get(APPROVE)
async def approve_page(request: Request, code: str = "") -> Response:
    """On the device that is signed in. Looking lets nobody in: that is a POST of the page's script."""
    return page(request.scope, "qr_approve.html", code=code)


@router.get("/ui/account")
async def account_page(request: Request, who: Who) -> Response:
    """One's password, second factor, sign-ins and API keys."""
    return page(request.scope, "account.html", scopes=[scope for scope in SCOPES if who.may(scope)])


@router.get("/ui/admin/users")
async def users_page(request: Request) -> Response:
    return page(request.scope, "users.html", roles=ROLES)


@router.get("/ui/admin/audit")
async def audit_page(request: Request) -> Response:
    return page(request.scope, "audit.html", outcomes=get_args(Outcome))
