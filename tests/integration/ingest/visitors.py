"""Visitors of a running ingest: browsers with a session, programs with tokens, each from an address of its own.

Lives here: what they send. Requests say that they come through the gateway, so that the limits of one test are no
other's.
"""

import contextlib
import itertools
import json
import socket
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any

import httpx

from services.ingest.accounts import users
from services.ingest.accounts.db import AuthDb
from services.ingest.accounts.passwords import Passwords
from shared.access.principal import Role
from tests.integration.ingest.service import Ingest

GATEWAY_TOKEN = "the gateway of this test"
COOKIE = "__Host-dubline"
PASSWORD = "correct horse battery staple"
OTHER_PASSWORD = "another long sentence here"
BEHIND_GATEWAY = {"DUBLINE_GATEWAY_TOKEN": GATEWAY_TOKEN}
"""What an ingest is started with, so that it believes what visitors say of their address."""

_addresses = (f"198.18.{n // 250}.{n % 250 + 1}" for n in itertools.count())
_names = (f"person{n}" for n in itertools.count())


@dataclass
class Visitor:
    """One client from one address, with what it was given when it signed in."""

    url: str
    address: str
    cookie: str = ""
    csrf: str = ""
    bearer: str = ""

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        headers = {"X-Dubline-Gateway": GATEWAY_TOKEN, "X-Forwarded-For": self.address} | options.pop("headers", {})
        if self.cookie:
            headers |= {"Cookie": f"{COOKIE}={self.cookie}", "X-CSRF-Token": self.csrf}
        if self.bearer:
            headers["Authorization"] = f"Bearer {self.bearer}"
        return httpx.request(
            method, self.url + path, json=body, headers=headers, timeout=60, trust_env=False, verify=False, **options
        )

    def get(self, path: str) -> httpx.Response:
        return self.ask("GET", path)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.ask("POST", path, body, **options)

    def sign_in(self, username: str, password: str = PASSWORD, **more: Any) -> httpx.Response:
        answer = self.post("/api/auth/login", {"username": username, "password": password} | more)
        if answer.status_code == 200:
            self.take(answer)
        return answer

    def take(self, answer: httpx.Response) -> None:
        """Keep what a browser, or a program, keeps of an answer that lets it in."""
        self.cookie, self.csrf = session_cookie(answer) or "", answer.json()["csrf_token"]
        self.bearer = answer.json().get("access_token", "")


def session_cookie(answer: httpx.Response) -> str | None:
    cookies = SimpleCookie(answer.headers.get("set-cookie", ""))
    return cookies[COOKIE].value if COOKIE in cookies else None


@dataclass
class Door:
    """A running ingest, and its auth.db as another process may read and write it."""

    ingest: Ingest

    def visitor(self) -> Visitor:
        return Visitor(self.ingest.url, next(_addresses))

    def person(self, role: Role = "viewer", password: str = PASSWORD) -> str:
        """Make a user and return their name."""
        name = next(_names)
        with contextlib.closing(Passwords()) as passwords:
            hashed = passwords.hash_now(password)
        with contextlib.closing(AuthDb(self.ingest.layout.auth_db)) as db:
            db.write(lambda connection: users.create(connection, name, hashed, role, 1_700_000_000.0))
        return name

    def browser(self, username: str) -> Visitor:
        visitor = self.visitor()
        assert visitor.sign_in(username, session=True).status_code == 200
        return visitor

    def program(self, username: str) -> Visitor:
        visitor = self.visitor()
        assert visitor.sign_in(username).status_code == 200
        return visitor

    @contextlib.contextmanager
    def rows(self) -> Iterator[sqlite3.Connection]:
        """A connection to auth.db; what was done in it is committed at the end."""
        with contextlib.closing(sqlite3.connect(self.ingest.layout.auth_db, timeout=10)) as connection:
            yield connection
            connection.commit()

    def user_id(self, username: str) -> str:
        with self.rows() as connection:
            return str(connection.execute("SELECT id FROM users WHERE username = ?", (username,)).fetchone()[0])

    def log_text(self) -> str:
        directory = self.ingest.layout.data
        return (directory.parent / f"{directory.name}.log").read_text()

    def raw(self, path: str, content_type: str, body: bytes) -> tuple[bytes, dict[str, str], bytes]:
        """Return the status line, the headers and every byte after them, over a plain socket."""
        host, port = self.ingest.url.removeprefix("http://").split(":")
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        with socket.create_connection((host, int(port)), 30) as connection:
            connection.sendall(head.encode() + body)
            received = b"".join(iter(lambda: connection.recv(65536), b""))
        start, _, rest = received.partition(b"\r\n\r\n")
        status, *lines = start.split(b"\r\n")
        headers = (line.decode().split(": ", 1) for line in lines)
        return status, {name.lower(): value for name, value in headers}, rest


def json_of(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body)
    return found
