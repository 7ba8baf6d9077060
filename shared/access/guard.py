"""The guard before a service's routes: who asks, and whether the route's line lets them.

Lives here: the ASGI middleware and its refusals. A path without a line in the table never reaches the application,
whatever its router would make of it. Does not live here: the table (`services.*.access`), whose an object is (the
routes), pages of other sites (`shared.loopback`).
"""

import asyncio
import hmac
from typing import Any
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.access.credentials import CSRF_HEADER, Shown, shown
from shared.access.current import ADDRESS, CSRF, PRINCIPAL
from shared.access.identity import Identity
from shared.access.key_rate import REQUESTS_A_MINUTE, KeyRate
from shared.access.principal import CredentialKind, Principal
from shared.access.resolution import AccessUnavailableError
from shared.access.rules import ADMIN_IN_PERSON, PERSON, PUBLIC, Open, Rule, Rules
from shared.access.running import Running
from shared.loopback import SAFE_METHODS, WEBSOCKET
from shared.problems import Problem

LOGIN_PAGE = "/ui/login"
REALM = 'Bearer realm="dubline"'
RETRY_AFTER_S = 2
BY_WHOM: dict[Rule, frozenset[CredentialKind]] = {
    PERSON: frozenset({"session", "token"}),
    ADMIN_IN_PERSON: frozenset({"session", "token", "local"}),
}
"""Which kinds of credential a line takes, where it does not take all."""

_CSRF_HEADER = CSRF_HEADER.encode()


class AccessGuard:
    """ASGI middleware. A signed-in request costs a SHA-256 and a few look-ups while its credential is remembered."""

    def __init__(
        self, app: ASGIApp, rules: Rules, identity: Identity, running: Running, cookie: str, keys: KeyRate
    ) -> None:
        """`cookie`: the name of the session cookie; `keys`: how much each API key asked."""
        self._app = app
        self._rules = rules
        self._identity = identity
        self._running = running
        self._cookie = cookie
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["type"] == "http" else WEBSOCKET
        rule = self._rules.find(method, scope["path"])
        credential = shown(scope["headers"], self._cookie)
        try:
            who = None if credential is None else await self._identity.of(credential.digest)
        except AccessUnavailableError:
            who = None
            if rule is not PUBLIC:
                await unavailable().response()(scope, receive, send)
                return
        if who is not None and not who.comes_from(scope.get(ADDRESS, "")):
            who = None  # a key that is used from elsewhere was stolen, as far as anybody can tell
        if who is not None and who.kind == "key" and (wait_s := self._keys.wait_s(who.credential)):
            await _too_many(wait_s).response()(scope, receive, send)
            return
        if credential is not None and who is not None and rule is PUBLIC and _csrf(credential, method, scope):
            who = None  # a page of nobody knows what: what is public is done as for anybody
        refused = None if rule is PUBLIC else self._refusal(rule, method, scope, credential, who)
        if credential is not None and who is not None:
            scope[PRINCIPAL], scope[CSRF] = who, credential.csrf  # of a refusal, too: a page of it shows who asked
        if refused is not None:
            await refused(scope, receive, send)
            return
        if credential is None or who is None:
            await self._app(scope, receive, send)
            return
        await self._run(scope, receive, send, who, credential.digest)

    async def _run(self, scope: Scope, receive: Receive, send: Send, who: Principal, digest: str) -> None:
        """Let the application answer, until it has or the credential is revoked."""
        begun = self._running.add(who, digest, send)
        try:
            await self._app(scope, receive, begun.send)
        except asyncio.CancelledError:
            if not begun.ended or begun.task.uncancel() > 0:
                raise  # the server's own, when it stops
        finally:
            self._running.remove(begun)
        if begun.ended:
            await begun.cut(scope, receive)

    def _refusal(
        self, rule: Rule | None, method: str, scope: Scope, credential: Shown | None, who: Principal | None
    ) -> Response | None:
        """Return the answer to who may not, None for who may."""
        if credential is None or who is None:
            return _sign_in(method, scope, credential)
        if (problem := _csrf(credential, method, scope)) is not None:
            return problem.response()
        if rule is None:
            return self._unknown(method, scope["path"]).response()
        problem = _not_by(rule, who)
        return None if problem is None else problem.response()

    def _unknown(self, method: str, path: str) -> Problem:
        """Return the answer to a method or a path that has no line (RFC 9110, 15.5.6: Allow names all methods)."""
        allowed = ", ".join(sorted(self._rules.methods(path)))
        if not allowed or method == WEBSOCKET:
            return Problem(404, "http_404", "Not Found")
        return Problem(405, "http_405", f"This address takes {allowed}, not {method}.", headers={"Allow": allowed})


def unavailable() -> Problem:
    """Return the answer while nobody can say whose a credential is."""
    detail = "Nobody can say now whose this credential is, so nothing was done. Try again in a few seconds."
    return Problem(503, "access_unavailable", detail, headers={"Retry-After": str(RETRY_AFTER_S)})


def _too_many(wait_s: int) -> Problem:
    detail = f"This key may send {REQUESTS_A_MINUTE} requests a minute. Try again in {wait_s} seconds."
    headers = {"Retry-After": str(wait_s)}
    return Problem(429, "too_many_requests", detail, headers=headers, limit="key", retry_after=wait_s)


def _sign_in(method: str, scope: Scope, credential: Shown | None) -> Response:
    """Return a refusal for a program, the way to the sign-in page for a person with a browser."""
    path: str = scope["path"]
    if method in ("GET", "HEAD") and (path == "/" or path.startswith("/ui/")) and path != LOGIN_PAGE and _html(scope):
        query = scope["query_string"].decode("latin-1")
        wanted = path + ("?" + query if query else "")
        return RedirectResponse(f"{LOGIN_PAGE}?next={quote(wanted, safe='')}", 303, {"Cache-Control": "no-store"})
    if credential is None:
        detail = "Sign in, or send a credential: an API key in X-Api-Key, or a token in Authorization: Bearer."
        return Problem(401, "not_signed_in", detail, headers={"WWW-Authenticate": REALM}).response()
    detail = "The credential is unknown, expired or revoked. Sign in again, or make another key."
    headers = {"WWW-Authenticate": f'{REALM}, error="invalid_token"'}
    return Problem(401, "invalid_credential", detail, headers=headers).response()


def _not_by(rule: Rule, who: Principal) -> Problem | None:
    """Return why who is signed in may not do what this line is of, None if they may."""
    scope = "admin:*" if rule is ADMIN_IN_PERSON else rule
    if not isinstance(scope, Open) and scope not in who.scopes:
        return _scope_missing(scope)
    return _person_needed() if who.kind not in BY_WHOM.get(rule, {who.kind}) else None


def _person_needed() -> Problem:
    detail = "Accounts are managed by persons: sign in with a password. No API key may do this."
    return Problem(403, "person_needed", detail)


def _scope_missing(scope: str) -> Problem:
    headers = {"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="{scope}"'}
    return Problem(403, "scope_missing", f"This needs the scope {scope}.", headers=headers, scope=scope)


def _csrf(credential: Shown, method: str, scope: Scope) -> Problem | None:
    """Return why a credential that the browser sends by itself does not count, None if it does.

    A WebSocket has no headers of the page's own: there `shared.loopback` judges its Origin.
    """
    if credential.by != "cookie" or method in SAFE_METHODS or method == WEBSOCKET:
        return None
    sent = _header(scope, _CSRF_HEADER)
    if sent is None:
        detail = "Send the session's token in X-CSRF-Token: csrf_token of the sign-in, and the page has it too."
        return Problem(403, "csrf_required", detail)
    if not hmac.compare_digest(sent, credential.csrf.encode()):
        return Problem(403, "csrf_invalid", "X-CSRF-Token is not this session's. Load the page again.")
    return None


def _html(scope: Scope) -> bool:
    return b"text/html" in (_header(scope, b"accept") or b"")


def _header(scope: dict[str, Any] | Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)
