"""People with accounts of a running ingest, made as people come to have them: invited, and signed in.

Lives here: that, for tests of keys, tokens and the audit log. Does not live here: the tests of signing in.
"""

import sqlite3
from dataclasses import dataclass
from typing import Any

import httpx

from shared.access.principal import Role
from tests.integration.ingest.service import Ingest

PASSWORD = "a long sentence that nobody else knows"


@dataclass(frozen=True)
class Person:
    """One account, and the tokens of its sign-in."""

    id: str
    name: str
    url: str
    access: str
    refresh: str

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request with this person's token, over a connection of its own."""
        return asked(self.url, method, path, {"Authorization": f"Bearer {self.access}"}, **options)


def asked(url: str, method: str, path: str, headers: dict[str, str] | None = None, **options: Any) -> httpx.Response:
    """Send a request with these headers and no credential besides."""
    with httpx.Client(base_url=url, timeout=30, trust_env=False, headers=headers) as client:
        return client.request(method, path, **options)


def with_key(ingest: Ingest, key: str, method: str, path: str, **options: Any) -> httpx.Response:
    return asked(ingest.url, method, path, {"X-Api-Key": key}, **options)


def invited(ingest: Ingest, name: str, role: Role) -> Person:
    """Invite somebody, let them choose a password, and sign them in."""
    with ingest.client() as operator:
        invite = operator.post("/api/admin/invites", json={"role": role})
        assert invite.status_code == 201, invite.text
    body = {"token": invite.json()["token"], "username": name, "password": PASSWORD}
    made = asked(ingest.url, "POST", "/api/invites/redeem", json=body)
    assert made.status_code == 201, made.text
    return signed_in(ingest, name)


def signed_in(ingest: Ingest, name: str) -> Person:
    answer = asked(ingest.url, "POST", "/auth/login", json={"username": name, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    return Person(told["id"], name, ingest.url, told["access_token"], told["refresh_token"])


def in_the_past(ingest: Ingest, statement: str, *values: object) -> None:
    """Change a time in auth.db, for what would take minutes otherwise."""
    connection = sqlite3.connect(ingest.layout.auth_db, timeout=10)
    try:
        with connection:
            assert connection.execute(statement, values).rowcount > 0
    finally:
        connection.close()
