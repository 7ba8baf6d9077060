"""The guard: nobody comes in without a credential that the route's line asks for."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from shared.access.credentials import csrf_token, digest
from shared.access.guard import AccessGuard
from shared.access.key_rate import REQUESTS_A_MINUTE, KeyRate
from shared.access.resolution import Revoked
from shared.access.rules import ADMIN_IN_PERSON, PERSON, PUBLIC, SIGNED_IN, Rules
from shared.access.running import LOOK_S, Running
from tests.unit.access.asking import COOKIE, Accounts, Answered, ask, echo, key, person, session, with_local_key

TABLE = Rules(
    {
        "GET /": "read:job",
        "GET /open": PUBLIC,
        "POST /open": PUBLIC,
        "GET /me": SIGNED_IN,
        "POST /password": PERSON,
        "POST /invites": ADMIN_IN_PERSON,
        "GET /jobs": "read:job",
        "POST /jobs": "submit:job",
        "GET /jobs/{job_id}": "read:job",
        "DELETE /jobs/{job_id}": "admin:*",
        "GET /ui/jobs": "read:job",
        "WEBSOCKET /ws/{job_id}": "read:job",
    }
)
PAGE = {"Accept": "text/html,application/xhtml+xml"}


class Door:
    """A guard with its accounts."""

    def __init__(self, directory: Path, app: Any = echo) -> None:
        self.accounts = Accounts()
        identity, self.local_key = with_local_key(directory, self.accounts)
        self.running = Running(identity.of)
        self.guard = AccessGuard(
            app, TABLE, identity, self.running, COOKIE, KeyRate(lambda: 0)
        )  # time stands still for keys

    def signed_in(self, token: str, **principal: Any) -> str:
        self.accounts.known[digest(token)] = person(**principal)
        return token

    async def ask(self, method: str, path: str, headers: Any = (), **scope: Any) -> Answered:
        return await ask(self.guard, method, path, headers, **scope)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(4):
        while not await condition():  # noqa: ASYNC110 -- what is waited for has no event
            await asyncio.sleep(0.02)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/me"), ("GET", "/jobs"), ("DELETE", "/jobs/1"), ("GET", "/not-there"), ("PATCH", "/jobs"), ("GET", "/")],
)
async def test_nobody_is_told_anything_not_even_what_there_is(door: Door, method: str, path: str) -> None:
    answered = await door.ask(method, path)
    assert (answered.status, answered.code) == (401, "not_signed_in")
    assert answered.headers["www-authenticate"].startswith("Bearer")


async def test_what_is_public_needs_nobody_and_knows_who_came_anyway(door: Door) -> None:
    token = door.signed_in(session())
    assert (await door.ask("GET", "/open")).json()["user"] is None
    assert (await door.ask("GET", "/open", {"Authorization": f"Bearer {token}"})).json()["user"] == "u_1"
    assert (await door.ask("GET", "/open", {"Authorization": "Bearer wrong"})).json()["user"] is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer duba_wrong"},
        {"X-Api-Key": "dub_a_b_c"},
        {"X-Api-Key": ""},
        {"Cookie": f"{COOKIE}=dubs_wrong"},
    ],
)
async def test_a_credential_of_nobody_is_refused_as_such(door: Door, headers: dict[str, str]) -> None:
    answered = await door.ask("GET", "/jobs", headers)
    assert (answered.status, answered.code) == (401, "invalid_credential")
    assert 'error="invalid_token"' in answered.headers["www-authenticate"]


async def test_a_mistyped_key_costs_no_look_up(door: Door) -> None:
    await door.ask("GET", "/jobs", {"X-Api-Key": "dub_abc_" + "0" * 43 + "_000000"})
    assert door.accounts.asked == 0


@pytest.mark.parametrize(
    ("role", "method", "path", "missing"),
    [
        ("viewer", "GET", "/jobs", None),
        ("viewer", "HEAD", "/jobs/1", None),
        ("viewer", "POST", "/jobs", "submit:job"),
        ("operator", "POST", "/jobs", None),
        ("editor", "DELETE", "/jobs/1", "admin:*"),
        ("admin", "DELETE", "/jobs/1", None),
    ],
)
async def test_a_line_asks_for_its_scope_and_names_it(
    door: Door, role: Any, method: str, path: str, missing: str | None
) -> None:
    token = door.signed_in(session(), role=role)
    answered = await door.ask(method, path, {"Authorization": f"Bearer {token}"})
    if missing is None:
        assert answered.status == 200
    else:
        assert (answered.status, answered.code, answered.json()["scope"]) == (403, "scope_missing", missing)


async def test_b4_a_key_of_an_admin_has_no_more_than_its_scopes(door: Door) -> None:
    shown = door.signed_in(key(), kind="key", role="admin", scopes=frozenset({"admin:*"}))
    assert (await door.ask("DELETE", "/jobs/1", {"X-Api-Key": shown})).status == 200
    assert (await door.ask("GET", "/jobs", {"X-Api-Key": shown})).json()["scope"] == "read:job"


async def test_an_account_is_managed_by_its_person_and_by_no_key(door: Door) -> None:
    shown, token = door.signed_in(key(), kind="key"), door.signed_in(session(), kind="token")
    for headers in ({"X-Api-Key": shown}, {"X-Api-Key": door.local_key}):
        answered = await door.ask("POST", "/password", headers)
        assert (answered.status, answered.code) == (403, "person_needed")
    assert (await door.ask("POST", "/password", {"Authorization": f"Bearer {token}"})).status == 200


async def test_who_may_come_in_is_an_admins_to_say_in_person_or_this_machines_operators_and_no_keys(door: Door) -> None:
    shown = door.signed_in(key(), kind="key", role="admin")
    refused = await door.ask("POST", "/invites", {"X-Api-Key": shown})
    assert (refused.status, refused.code) == (403, "person_needed")
    narrow = door.signed_in(key(), kind="key", role="admin", scopes=frozenset({"read:job"}))
    editor = door.signed_in(session(), kind="token", role="editor")
    for headers in ({"X-Api-Key": narrow}, {"Authorization": f"Bearer {editor}"}):
        refused = await door.ask("POST", "/invites", headers)
        assert (refused.status, refused.code, refused.json()["scope"]) == (403, "scope_missing", "admin:*")
    admin = door.signed_in(session(), kind="token")
    for headers in ({"X-Api-Key": door.local_key}, {"Authorization": f"Bearer {admin}"}):
        assert (await door.ask("POST", "/invites", headers)).status == 200


async def test_this_machines_own_key_asks_no_account_and_ends_with_its_file(tmp_path: Path) -> None:
    door = Door(tmp_path)
    door.accounts.away = True
    assert (await door.ask("DELETE", "/jobs/1", {"X-Api-Key": door.local_key})).json()["user"] == "local"
    door.accounts.away = False
    (tmp_path / "local-key").unlink()
    shown = {"X-Api-Key": door.local_key}

    async def refused() -> bool:
        return (await door.ask("GET", "/jobs", shown)).status == 401

    await until(refused)


async def test_what_a_browser_sends_by_itself_writes_only_with_the_sessions_token(door: Door) -> None:
    token, other = door.signed_in(session()), session()
    cookie = {"Cookie": f"theme=dark; {COOKIE}={token}"}
    assert (await door.ask("GET", "/jobs", cookie)).json()["csrf"] == csrf_token(token)
    assert (await door.ask("POST", "/jobs", cookie)).code == "csrf_required"
    assert (await door.ask("POST", "/jobs", cookie | {"X-CSRF-Token": csrf_token(other)})).code == "csrf_invalid"
    assert (await door.ask("POST", "/jobs", cookie | {"X-CSRF-Token": "é"})).code == "csrf_invalid"
    assert (await door.ask("POST", "/jobs", cookie | {"X-CSRF-Token": csrf_token(token)})).status == 200
    assert (await door.ask("POST", "/jobs", {"Authorization": f"Bearer {token}"})).status == 200


async def test_a_public_write_of_a_browser_without_the_token_is_nobodys(door: Door) -> None:
    token = door.signed_in(session())
    assert (await door.ask("POST", "/open", {"Cookie": f"{COOKIE}={token}"})).json()["user"] is None


async def test_a_person_with_a_browser_is_shown_where_to_sign_in(door: Door) -> None:
    for headers in (PAGE, PAGE | {"Cookie": f"{COOKIE}=old"}):
        answered = await door.ask("GET", "/ui/jobs?state=DONE&q=a%20b", headers)
        assert answered.status == 303
        assert answered.headers["location"] == "/ui/login?next=%2Fui%2Fjobs%3Fstate%3DDONE%26q%3Da%2520b"
    assert (await door.ask("GET", "/jobs", PAGE)).status == 401
    assert (await door.ask("GET", "/ui/login", PAGE)).status == 401, "a page that is not there would send to itself"
    evil = await door.ask("GET", "/ui//evil.org", PAGE)
    assert evil.headers["location"].startswith("/ui/login?next=%2Fui%2F%2Fevil.org")


async def test_while_nobody_can_say_whose_it_is_nothing_is_done(door: Door) -> None:
    token = door.signed_in(session())
    door.accounts.away = True
    answered = await door.ask("GET", "/jobs", {"Authorization": f"Bearer {token}"})
    assert (answered.status, answered.code) == (503, "access_unavailable")
    assert int(answered.headers["retry-after"]) > 0
    assert (await door.ask("GET", "/open", {"Authorization": f"Bearer {token}"})).status == 200
    assert (await door.ask("GET", "/jobs")).status == 401


@pytest.mark.parametrize("path", ["/jobs\n", "/jobs/1\n/x", "/JOBS", "//jobs", "/jobs/1/2", "/open/../jobs"])
async def test_a_path_that_is_none_of_the_tables_never_reaches_the_application(door: Door, path: str) -> None:
    """Routers compare by patterns whose end also fits before a line break; the guard compares segments."""
    token = door.signed_in(session())
    reached = await door.ask("DELETE", path, {"Authorization": f"Bearer {token}"})
    assert (reached.status, reached.code) in {(404, "http_404"), (405, "http_405")}


async def test_a_wrong_method_is_told_all_right_ones(door: Door) -> None:
    token = door.signed_in(session())
    answered = await door.ask("PATCH", "/jobs/1", {"Authorization": f"Bearer {token}"})
    assert (answered.status, answered.headers["allow"]) == (405, "DELETE, GET, HEAD")


async def test_a_key_that_is_bound_to_a_network_is_nobodys_elsewhere(door: Door) -> None:
    shown = door.signed_in(key(), kind="key", networks=("10.0.0.0/8",))
    elsewhere = await door.ask("GET", "/jobs", {"X-Api-Key": shown}, **{"dubline.address": "192.0.2.7"})
    assert elsewhere.status in {401, 403}
    assert (await door.ask("GET", "/jobs", {"X-Api-Key": shown}, **{"dubline.address": "10.1.2.3"})).status == 200


async def test_a_key_asks_600_times_a_minute_whatever_it_asks_and_each_key_for_itself(door: Door) -> None:
    one = {"X-Api-Key": door.signed_in(key(), kind="key", credential="k1")}
    other = {"X-Api-Key": door.signed_in(key(), kind="key", credential="k2")}
    for number in range(REQUESTS_A_MINUTE):
        assert (await door.ask("GET", "/open" if number % 2 else "/jobs", one)).status == 200
    for path in ("/open", "/jobs", "/not-there"):
        answered = await door.ask("GET", path, one)
        assert (answered.status, answered.code, answered.json()["limit"]) == (429, "too_many_requests", "key")
        assert answered.headers["retry-after"] == "1"
    assert (await door.ask("GET", "/jobs", other)).status == 200


async def test_people_and_this_machines_own_key_are_not_counted_by_the_guard(door: Door) -> None:
    token = door.signed_in(session())
    for _ in range(REQUESTS_A_MINUTE + 100):
        assert (await door.ask("GET", "/jobs", {"Authorization": f"Bearer {token}"})).status == 200
        assert (await door.ask("GET", "/jobs", {"X-Api-Key": door.local_key})).status == 200


async def test_a_key_that_is_stolen_and_used_elsewhere_takes_nothing_from_its_owner(door: Door) -> None:
    shown = door.signed_in(key(), kind="key", networks=("10.0.0.0/8",))
    for _ in range(REQUESTS_A_MINUTE + 100):
        assert (await door.ask("GET", "/jobs", {"X-Api-Key": shown}, **{"dubline.address": "192.0.2.7"})).status == 401
    assert (await door.ask("GET", "/jobs", {"X-Api-Key": shown}, **{"dubline.address": "10.1.2.3"})).status == 200


class Streaming:
    """An application that sends until it is ended; `length` promises one."""

    def __init__(self, length: bytes = b"") -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.headers = [(b"content-length", length)] if length else []

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.headers})
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
            self.begun.set()
            await asyncio.sleep(60)
        finally:
            self.ended.set()


async def stream(door: Door, app: Streaming, token: str, sent: list[Message]) -> asyncio.Task[None]:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/jobs",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {token}".encode())],
    }

    async def receive() -> Message:
        await asyncio.sleep(60)
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    running = asyncio.create_task(door.guard(scope, receive, send))
    async with asyncio.timeout(2):
        await app.begun.wait()
    return running


@pytest.mark.parametrize("what", ["user", "credential", "token"])
async def test_a_stream_ends_properly_when_its_credential_is_revoked(tmp_path: Path, what: str) -> None:
    app, sent = Streaming(), list[Message]()
    door = Door(tmp_path, app)
    token = door.signed_in(session())
    running = await stream(door, app, token, sent)
    door.running.end(Revoked(user="u_2", credentials=frozenset({"s2"}), digests=frozenset({digest("another")})))
    await asyncio.sleep(0)
    assert not app.ended.is_set()
    revoked = {
        "user": Revoked(user="u_1"),
        "credential": Revoked(credentials=frozenset({"other", "s1"})),
        "token": Revoked(digests=frozenset({digest("another"), digest(token)})),
    }
    door.running.end(revoked[what])
    async with asyncio.timeout(1):
        await running
    assert app.ended.is_set()
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_what_has_a_length_is_broken_off_and_not_padded(tmp_path: Path) -> None:
    app, sent = Streaming(b"100"), list[Message]()
    door = Door(tmp_path, app)
    running = await stream(door, app, door.signed_in(session()), sent)
    door.running.end(Revoked(user="u_1"))
    async with asyncio.timeout(1):
        await running
    assert sent[-1].get("more_body") is True


async def test_a_revocation_that_nobody_told_of_is_seen_within_seconds(tmp_path: Path) -> None:
    """The bus was away meanwhile, or a token has expired."""
    app, sent = Streaming(), list[Message]()
    door = Door(tmp_path, app)
    running = await stream(door, app, door.signed_in(session()), sent)
    door.accounts.known.clear()
    async with asyncio.timeout(4):
        await running
    assert sent[-1]["more_body"] is False


async def test_while_the_accounts_are_away_what_runs_goes_on(tmp_path: Path) -> None:
    app, sent = Streaming(), list[Message]()
    door = Door(tmp_path, app)
    running = await stream(door, app, door.signed_in(session()), sent)
    asked, door.accounts.away = door.accounts.asked, True

    async def asked_again() -> bool:
        return door.accounts.asked > asked

    await until(asked_again)
    assert not app.ended.is_set()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_request_that_ends_its_own_session_gets_its_answer(tmp_path: Path) -> None:
    async def sign_out(scope: Any, receive: Any, send: Any) -> None:
        door.accounts.known.clear()
        door.running.end(Revoked(user="u_1"))
        await asyncio.sleep(2.2 * LOOK_S)  # the broker is away, so it takes a while to tell the others
        await echo(scope, receive, send)

    door = Door(tmp_path, sign_out)
    assert (await door.ask("GET", "/me", {"Authorization": f"Bearer {door.signed_in(session())}"})).status == 200


async def test_a_request_that_has_not_answered_yet_is_refused(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def upload(_scope: Any, _receive: Any, _send: Any) -> None:
        begun.set()
        await asyncio.sleep(60)

    door = Door(tmp_path, upload)
    token = door.signed_in(session())
    asking = asyncio.create_task(door.ask("POST", "/jobs", {"Authorization": f"Bearer {token}"}))
    await begun.wait()
    door.running.end(Revoked(user="u_1"))
    async with asyncio.timeout(1):
        assert (await asking).code == "invalid_credential"
