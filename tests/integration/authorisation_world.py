"""All services with several people in them, what one of them owns, and asking as each of them.

Lives here: accounts, objects, credentials as clients have them, and reading an answer as an outcome. Does not live
here: what is expected (`authorisation_table`).
"""

import contextlib
import hashlib
import itertools
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as open_socket

from services.ingest.accounts import keys, sessions
from services.ingest.accounts.client import Client
from services.ingest.accounts.db import AuthDb
from shared.access.credentials import SESSION_COOKIE, csrf_token
from shared.access.principal import SCOPES, Role, Scope
from shared.artifacts import Artifact
from shared.events.types import JobStarted
from shared.identity import uuid7
from shared.layout import Layout
from tests.factories import claimed, completed, event, submitted
from tests.integration.authorisation_table import ACTORS
from tests.integration.ingest.browser import PASSWORD, account
from tests.integration.library.conftest import LibraryProcess
from tests.integration.whole_http import WholeHttp, running_whole

WORD = "zanzibar"
"""In the name of all that the owner has."""

ROLES: dict[str, Role] = {
    "viewer": "viewer",
    "operator": "operator",
    "stranger": "editor",
    "owner": "editor",
    "admin": "admin",
    "gone": "editor",
}
BY_TOKEN = frozenset({"operator"})
"""They sign in as a program does; the others as a browser."""
GUARDS_WORDS = frozenset({"not_signed_in", "invalid_credential"})
"""A 401 with another code is a route's own, of a password or a code that was wrong."""
NOBODYS = frozenset({"oidc_off", "qr_not_found", "refresh_invalid"})
"""Refusals of what is there for nobody: who hears them was let in."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "WEBSOCKET"})
SPARE_JOBS = 8
CHUNK = b"x" * 1000
PATIENCE_S = 30.0

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Asking:
    """How one of them asks: what a client shows, over a connection from an address of its own (limits count each)."""

    client: httpx.Client
    reading: dict[str, str]
    writing: dict[str, str] = field(default_factory=dict)

    def headers(self, method: str) -> dict[str, str]:
        return self.reading | ({} if method in SAFE else self.writing)


def browser(token: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the headers of a page of ours: for reading, and in addition for writing."""
    return {"Cookie": f"{SESSION_COOKIE}={token}", "Sec-Fetch-Site": "same-origin"}, {"X-CSRF-Token": csrf_token(token)}


@dataclass
class World:
    """`ids` are objects of the owner's, by the path parameter that names them; the shared job's is apart."""

    whole: WholeHttp
    asking: dict[str, Asking]
    users: dict[str, str]
    ids: dict[str, str]
    shared: dict[str, str]
    spare: dict[str, list[str]]

    @property
    def layout(self) -> Layout:
        return Layout(self.whole.data)

    def ask(self, service: str, line: str, actor: str, ids: dict[str, str] | None = None) -> httpx.Response | int:
        """Ask one service; a number is how a socket was answered, as a status."""
        method, path = line.split(" ")
        address = self.filled(path, ids or self.ids)
        headers, client = self._shown(line, actor), self.asking[actor].client
        if method == "WEBSOCKET":
            return _socket_status(self.whole.url(service).replace("http", "ws") + address, headers)
        body = BODIES.get(line, {} if method in ("POST", "PUT") else None)
        options: dict[str, Any] = (
            dict(body) if isinstance(body, Raw) else {} if body is None else {"json": _unique(body)}
        )
        options["headers"] = headers | options.get("headers", {})
        with client.stream(method, self.whole.url(service) + address, **options) as answer:
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                answer.read()
            return answer

    def outcome(self, service: str, line: str, actor: str, ids: dict[str, str] | None = None) -> str:
        """Return `let in`, or the status that kept them out; anything that should be neither is told whole."""
        answer = self.ask(service, line, actor, ids)
        if isinstance(answer, int):
            return {200: "let in", 1008: "404"}.get(answer, str(answer))
        code = _code(answer)
        if answer.status_code >= 500 or answer.status_code in (405, 429):
            return f"{answer.status_code} {answer.text[:200]}"
        if answer.status_code == 401 and (code in GUARDS_WORDS or code is None):
            return "401"
        if answer.status_code in (403, 404) and code not in NOBODYS:
            return str(answer.status_code)
        return "let in"

    def filled(self, path: str, ids: dict[str, str]) -> str:
        if path.startswith("/static/"):
            return "/static/dubline.css"
        return re.sub(r"\{(\w+)(?::path)?\}", lambda found: ids[found[1]], path) + QUERIES.get(path, "")

    def ids_for(self, line: str) -> dict[str, str]:
        """Return ids with an object of its own for a request that ends it."""
        made = {}
        for name, make in CONSUMED.items():
            if f"{{{name}}}" in line and (line.startswith("DELETE") or line.endswith("/revoke")):
                made[name] = make(self)
        return self.ids | made

    def owner_makes(self, path: str, **body: Any) -> str:
        """Make something of the owner's, over HTTP as everybody does; return its id."""
        asking = self.asking["owner"]
        answer = asking.client.post(self.whole.url("ingest") + path, json=_unique(body), headers=asking.headers("POST"))
        assert answer.is_success, answer.text
        told = answer.json()
        return str(told.get("id") or told["upload_id"])

    def in_accounts(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        return in_accounts(self.layout, work)

    def _shown(self, line: str, actor: str) -> dict[str, str]:
        method, path = line.split(" ")
        asking = self.asking[actor]
        if actor == "unfit key" and not path.startswith(READ_WITH) and method in ("GET", "HEAD", "WEBSOCKET"):
            asking = self.asking["unfit key for reading"]
        if method not in SAFE and "/auth/" in path and "{" not in path and actor in ROLES and actor != "gone":
            return self._thrown_away(actor).headers(method)
        return asking.headers(method)

    def _thrown_away(self, actor: str) -> Asking:
        """Return a session of a user who is only made for one request: it may end the session, or change the user."""
        user = account(self.layout, f"{actor}-{next(_numbers)}", ROLES[actor])
        return Asking(self.asking[actor].client, *browser(open_session(self.layout, user).token))


class Raw(dict[str, Any]):
    """Arguments of httpx in the place of a JSON body."""


READ_WITH = ("/api/files", "/api/uploads")
"""Reading that asks for submit:job."""
UPLOAD_HEADERS = {"Tus-Resumable": "1.0.0"}
QUERIES = {
    "/api/uploads/{upload_id}/chunk": "?index=0&offset=0",
    "/api/jobs/{job_id}/logs/tail": "?n=5",
}
BODIES: dict[str, Any] = {
    "POST /api/admin/invites": {"role": "viewer"},
    "PUT /api/admin/users/{user_id}/settings": {"defaults": {"mode": "low"}},
    "POST /api/auth/qr/approve": {"user_code": "BCDF-GHJK", "number": "12"},
    "POST /api/auth/qr/deny": {"user_code": "BCDF-GHJK"},
    "POST /api/jobs/{job_id}/priority": {"priority": 100},
    "POST /api/jobs/{job_id}/visibility": {"visibility": "private"},
    "PUT /api/jobs/{job_id}/tags": {"tags": [WORD]},
    "POST /api/keys": {"name": "Key {}"},
    "POST /keys": {"name": "Key {}"},
    "POST /api/presets": {"name": "Preset {}", "mode": "low", "tgt_lang": "pt"},
    "PUT /api/presets/{preset_id}": {"name": f"{WORD} {{}}", "mode": "low", "tgt_lang": "pt"},
    "POST /api/projects": {"name": "Project {}"},
    "PUT /api/projects/{project_id}": {"default_preset_id": None},
    "POST /api/runtime/limits": {"overrides": {"MAX_JOBS_HIGH": 1}},
    "PUT /api/settings": {"defaults": {}},
    "POST /api/uploads/init": {"filename": "film {}.mp4", "total_bytes": 1000},
    "POST /api/uploads/tus": Raw(headers=UPLOAD_HEADERS | {"Upload-Length": "1000"}),
    "DELETE /api/uploads/tus/{upload_id}": Raw(headers=UPLOAD_HEADERS),
    "HEAD /api/uploads/tus/{upload_id}": Raw(headers=UPLOAD_HEADERS),
    "PATCH /api/uploads/tus/{upload_id}": Raw(
        headers=UPLOAD_HEADERS | {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
        content=CHUNK,
    ),
    "POST /api/uploads/{upload_id}/chunk": Raw(
        headers={"X-Chunk-Sha256": hashlib.sha256(CHUNK).hexdigest(), "Content-Type": "application/octet-stream"},
        content=CHUNK,
    ),
    "PUT /api/users/{user_id}": {"role": "viewer"},
    "POST /api/webhooks": {"url": "http://127.7.7.7:9/{}"},
    "PUT /api/webhooks/{webhook_id}": {"url": f"http://127.7.7.7:9/{WORD}"},
}
"""Bodies that a route takes. Without a line here it is `{}`: who gets a word about that was let in."""


def in_accounts(layout: Layout, work: Callable[[sqlite3.Connection], Any]) -> Any:
    """Work in the service's database behind its back."""
    db = AuthDb(layout.auth_db)
    try:
        return db.write(work)
    finally:
        db.close()


def open_session(layout: Layout, user: str) -> sessions.Opened:
    opened: sessions.Opened = in_accounts(
        layout,
        lambda connection: sessions.open_session(
            connection, user, "password", Client("127.0.0.1", "", WORD), time.time()
        ),
    )
    return opened


def make_key(layout: Layout, user: str, scopes: Iterable[Scope]) -> tuple[str, str]:
    """Return the id of a new key, and the key."""
    wanted = keys.Wanted(frozenset(scopes), name=WORD)
    made, key = in_accounts(layout, lambda connection: keys.create(connection, user, wanted, time.time()))
    return made.id, key


CONSUMED: dict[str, Callable[[World], str]] = {
    "job_id": lambda world: world.spare["job_id"].pop(),
    "project_id": lambda world: world.owner_makes("/api/projects", name=f"{WORD} {{}}"),
    "preset_id": lambda world: world.owner_makes("/api/presets", name=f"{WORD} {{}}", mode="low", tgt_lang="pt"),
    "webhook_id": lambda world: world.owner_makes("/api/webhooks", url=f"http://127.7.7.7:9/{WORD}/{{}}"),
    "upload_id": lambda world: world.owner_makes("/api/uploads/init", filename=f"{WORD}.mp4", total_bytes=1000),
    "key_id": lambda world: make_key(world.layout, world.users["owner"], ["read:job"])[0],
    "device_id": lambda world: open_session(world.layout, world.users["owner"]).session_id,
    "invite_id": lambda world: make_invite(world),  # noqa: PLW0108 -- defined below
}


@contextlib.contextmanager
def peopled(directory: Path) -> Iterator[World]:
    """Yield all services with everybody signed in and the owner's things made."""
    with mock.patch.dict(os.environ, {"MAX_OPEN_UPLOADS": "1000"}), contextlib.ExitStack() as stack:
        whole = stack.enter_context(running_whole(directory))
        layout, ingest = Layout(whole.data), whole.url("ingest")
        users = {name: account(layout, name, role) for name, role in ROLES.items()}
        asking = {}
        for number, name in enumerate((*ACTORS, "unfit key for reading"), start=2):
            transport = httpx.HTTPTransport(local_address=f"127.0.0.{number}")
            client = stack.enter_context(httpx.Client(transport=transport, timeout=PATIENCE_S))
            shown = _credential(layout, users, ingest, client, name)
            asking[name] = Asking(client, *shown)
        away = {"disabled": True}
        admin = asking["admin"]
        admin.client.put(
            f"{ingest}/api/users/{users['gone']}", json=away, headers=admin.headers("PUT")
        ).raise_for_status()
        world = World(whole, asking, users, {}, {}, {})
        _fill(world)
        yield world


def _credential(
    layout: Layout, users: dict[str, str], ingest: str, client: httpx.Client, name: str
) -> tuple[dict[str, str], dict[str, str]]:
    match name:
        case "nobody":
            return {}, {}
        case "unfit key":
            return {"X-Api-Key": make_key(layout, users["owner"], ["read:job"])[1]}, {}
        case "unfit key for reading":
            return {"X-Api-Key": make_key(layout, users["owner"], ["submit:job"])[1]}, {}
        case "narrow key":
            return {"X-Api-Key": make_key(layout, users["admin"], ["read:job"])[1]}, {}
        case "wide key":
            return {"X-Api-Key": make_key(layout, users["admin"], SCOPES)[1]}, {}
    body = {"username": name, "password": PASSWORD, "session": name not in BY_TOKEN}
    answer = client.post(f"{ingest}/api/auth/login", json=body)
    assert answer.status_code == 200, answer.text
    client.cookies.clear()
    if name in BY_TOKEN:
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}, {}
    token = answer.cookies[SESSION_COOKIE]
    assert answer.json()["csrf_token"] == csrf_token(token)
    return browser(token)


def _fill(world: World) -> None:
    owner, layout = world.users["owner"], world.layout
    library = LibraryProcess(world.whole.data, world.whole.broker, world.whole.ports["library"])
    told = []
    for visibility, ids in (("private", world.ids), ("shared", world.shared)):
        job = uuid7()
        base = layout.claim_base_dir(job, f"{visibility} film")
        files = {"film.dub.mkv": b"matroska", "job.log": f"of {WORD}\n".encode(), "stream/manifest.json": b"{}"}
        for name, content in files.items():
            path = layout.output / base / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        video = Artifact(
            name="film.dub.mkv", path=f"{base}/film.dub.mkv", size=8, sha256=hashlib.sha256(b"matroska").hexdigest()
        )
        fields: dict[str, Any] = {"owner": owner, "title": f"{WORD}.mp4", "tags": [WORD], "project_name": WORD}
        told += [
            submitted(job, base_dir=base, visibility=visibility, **fields),
            event(JobStarted, job, run=1),
            claimed(job, "mux"),
            completed(job, "mux", outputs=[video]),
        ]
        ids |= {"job_id": job, "path": f"{base}/film.dub.mkv"}
    world.spare["job_id"] = [uuid7() for _ in range(SPARE_JOBS)]
    told += [submitted(job, owner=owner, title=WORD, base_dir=job[-6:]) for job in world.spare["job_id"]]
    library.append(*told)
    for name in ("project_id", "preset_id", "webhook_id", "upload_id", "key_id", "device_id"):
        world.ids[name] = CONSUMED[name](world)
    asking = world.asking["owner"]
    sent = asking.client.post(
        f"{world.whole.url('ingest')}/api/webhooks/{world.ids['webhook_id']}/test", headers=asking.headers("POST")
    )
    world.ids |= {
        "message": sent.raise_for_status().json()["id"],
        "user_id": account(layout, "somebody", "viewer"),
        "user_code": "BCDF-GHJK",
        "invite_id": make_invite(world),
    }
    _wait(lambda: _listed(world), "the library does not list what the owner made")


def make_invite(world: World) -> str:
    admin = world.asking["admin"]
    answer = admin.client.post(
        f"{world.whole.url('ingest')}/api/admin/invites", json={"role": "viewer"}, headers=admin.headers("POST")
    )
    return str(answer.raise_for_status().json()["id"])


def _listed(world: World) -> bool:
    asking = world.asking["owner"]
    paths = [f"/api/{kind}s/{world.ids[f'{kind}_id']}" for kind in ("project", "preset", "webhook")]
    answers = [asking.client.get(world.whole.url("library") + path, headers=asking.reading) for path in paths]
    return all(answer.status_code == 200 for answer in answers)


def _wait(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


def _unique(body: Any) -> Any:
    """Put a number that no other request has into the texts that ask for one."""
    if not isinstance(body, dict):
        return body
    return {name: value.format(next(_numbers)) if isinstance(value, str) else value for name, value in body.items()}


def _code(answer: httpx.Response) -> str | None:
    if answer.headers.get("content-type") != "application/problem+json" or not answer.content:
        return None
    return str(answer.json()["code"])


def _socket_status(url: str, headers: dict[str, str]) -> int:
    try:
        with open_socket(url, additional_headers=headers, open_timeout=PATIENCE_S, proxy=None) as socket:
            socket.recv(timeout=PATIENCE_S)
            return 200
    except InvalidStatus as refused:
        return refused.response.status_code
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 0
