"""A browser as a server sees it: it keeps cookies, also those of https, follows nothing by itself, has an address.

Lives here: that, and making an account behind the service's back. Does not live here: any expectation.
"""

import sqlite3
from http.cookies import SimpleCookie
from typing import Any, Self

import httpx
from argon2 import PasswordHasher

from services.ingest.accounts import users
from services.ingest.accounts.db import AuthDb
from shared.access.principal import Role
from shared.layout import Layout

PASSWORD = "correct horse battery staple"
_HASHED = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1).hash(PASSWORD)


class Browser:
    """`address` is one of loopback's many: limits count each by itself."""

    def __init__(self, url: str, address: str = "127.0.0.1", agent: str = "A browser") -> None:
        self.cookies: dict[str, str] = {}
        self.csrf = ""
        transport = httpx.HTTPTransport(local_address=address)
        self._client = httpx.Client(base_url=url, transport=transport, timeout=30, headers={"User-Agent": agent})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, **params: str) -> httpx.Response:
        return self._asked("GET", path, params=params)

    def post(self, path: str, body: Any = None) -> httpx.Response:
        headers = {"X-CSRF-Token": self.csrf} if self.csrf else {}
        return self._asked("POST", path, json={} if body is None else body, headers=headers)

    def sign_in(self, username: str, **factors: str) -> httpx.Response:
        body = {"username": username, "password": PASSWORD, "session": True, **factors}
        answer = self.post("/api/auth/login", body)
        self.csrf = answer.json().get("csrf_token", "")
        return answer

    def confirm(self, **proof: str) -> httpx.Response:
        """Prove again who one is; the session goes on with another cookie."""
        answer = self.post("/api/auth/confirm", proof)
        self.csrf = answer.json().get("csrf_token", self.csrf)
        return answer

    def me(self) -> str | None:
        """Return the name of who is signed in here."""
        answer = self.get("/api/auth/me")
        self.csrf = answer.json().get("csrf_token", "")
        return answer.json()["username"] if answer.status_code == 200 else None

    def _asked(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = (headers or {}) | ({"Cookie": cookie} if cookie else {})
        answer = self._client.request(method, path, headers=sent, **options)
        self._client.cookies.clear()  # kept here instead
        for line in answer.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return answer


def account(layout: Layout, username: str, role: Role = "viewer") -> str:
    """Make an account with `PASSWORD` and return its id."""

    def make(connection: sqlite3.Connection) -> str:
        return users.create(connection, username, _HASHED, role, 0.0).id

    db = AuthDb(layout.auth_db)
    try:
        return db.write(make)
    finally:
        db.close()


def in_auth_db(layout: Layout, statement: str, *values: object) -> None:
    """Change the service's database behind its back."""
    db = AuthDb(layout.auth_db)
    try:
        db.write(lambda connection: connection.execute(statement, values))
    finally:
        db.close()
