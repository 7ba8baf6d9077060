"""An application behind a guard, asked as a server would ask it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message

from shared.access.credentials import new_key, new_token
from shared.access.current import ADDRESS, CSRF, PRINCIPAL
from shared.access.identity import Identity
from shared.access.local_key import LocalKey, ensure_local_key, read_local_key
from shared.access.principal import CredentialKind, Principal, Role, scopes_of
from shared.access.resolution import AccessUnavailableError

COOKIE = "__Host-dubline"


@dataclass
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json()["code"])


class Accounts:
    """A resolver that a test fills; `away` lets it say nothing."""

    def __init__(self) -> None:
        self.known: dict[str, Principal] = {}
        self.away = False
        self.asked = 0

    async def resolve(self, digest: str) -> Principal | None:
        self.asked += 1
        if self.away:
            raise AccessUnavailableError
        return self.known.get(digest)


def person(role: Role = "admin", kind: CredentialKind = "session", credential: str = "s1", **more: Any) -> Principal:
    given = {"user": "u_1", "name": "maria", "role": role, "scopes": scopes_of(role)} | more
    return Principal(kind=kind, credential=credential, **given)


def session() -> str:
    return new_token("session")


def key() -> str:
    return new_key("abc123")


def with_local_key(directory: Path, accounts: Accounts) -> tuple[Identity, str]:
    path = directory / "local-key"
    ensure_local_key(path)
    return Identity(LocalKey(path), accounts), read_local_key(path) or ""


async def echo(scope: Any, _receive: Any, send: Any) -> None:
    """Say who asks."""
    who = scope.get(PRINCIPAL)
    said = {"user": who.user if who else None, "csrf": scope.get(CSRF, ""), "address": scope.get(ADDRESS, "")}
    said["scheme"] = scope.get("scheme")
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(said).encode()})


async def ask(
    app: ASGIApp, method: str, path: str, headers: Mapping[str, str] | list[tuple[str, str]] = (), **scope: Any
) -> Answered:
    """Return the answer to one request; `path` may have a query."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    bare, _, query = path.partition("?")
    asked = {
        "type": "http",
        "method": method,
        "path": bare,
        "query_string": query.encode(),
        "scheme": "http",
        "client": ("192.0.2.7", 4711),
        "headers": [(name.lower().encode(), value.encode()) for name, value in pairs],
    } | scope
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(asked, receive, send)
    start = sent[0]
    received = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answered(start["status"], received, b"".join(part.get("body", b"") for part in sent[1:]))
