"""Who asks, made by hand: for functions that are given a principal, and applications without a guard."""

from starlette.types import ASGIApp, Receive, Scope, Send

from services.ingest.asker import By
from shared.access.current import PRINCIPAL
from shared.access.principal import Principal, Role, scopes_of
from shared.identity import LOCAL_OWNER


def principal(user: str = LOCAL_OWNER, role: Role = "editor") -> Principal:
    return Principal(user=user, name=user, role=role, scopes=scopes_of(role), kind="session", credential=f"of-{user}")


def by(user: str = LOCAL_OWNER, role: Role = "editor") -> By:
    return By(principal(user, role))


class SignedIn:
    """ASGI: the application, as this principal sees it."""

    def __init__(self, app: ASGIApp, who: Principal) -> None:
        self._app = app
        self._who = who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope | {PRINCIPAL: self._who}, receive, send)
