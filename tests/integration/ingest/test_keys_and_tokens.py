"""API keys and refresh tokens over a real socket, and what the log and other services come to know of them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from shared.access.client import BusResolver
from shared.access.client_address import GATEWAY_HEADER
from shared.access.credentials import digest
from shared.access.principal import Principal
from shared.eventlog.jetstream import JetStreamEventLog
from shared.eventlog.late import LateConnection
from shared.events.access import AuditRecorded
from shared.events.subjects import ALL_AUDIT, audit_subject
from shared.settings import Settings
from tests.broker import BinaryBroker, free_port
from tests.integration.ingest.conftest import make_streams
from tests.integration.ingest.people import Person, asked, in_the_past, invited, signed_in, with_key
from tests.integration.ingest.service import Ingest, event_log, running_ingest

WORD = "the-word-of-the-gateway"
AT_ONCE_S = 1.0
"""A revoked credential is refused everywhere within this."""


@pytest.fixture(scope="module")
def ingest(own_broker: BinaryBroker, tmp_path_factory: pytest.TempPathFactory) -> object:
    directory = tmp_path_factory.mktemp("ingest") / "data"
    with running_ingest(directory, own_broker.url, DUBLINE_GATEWAY_TOKEN=WORD) as running:
        yield running


@pytest.fixture(scope="module")
def admin(ingest: Ingest) -> Person:
    return invited(ingest, "adele", "admin")


@pytest.fixture(scope="module")
def editor(ingest: Ingest) -> Person:
    return invited(ingest, "edith", "editor")


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


def refreshed(ingest: Ingest, token: str, prefix: str = "/auth") -> httpx.Response:
    return asked(ingest.url, "POST", f"{prefix}/refresh", json={"refresh_token": token})


def new_key(person: Person, **body: object) -> dict[str, str]:
    answer = person.ask("POST", "/keys", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return dict(answer.json())


async def audited(log: JetStreamEventLog, subject: str, action: str) -> list[AuditRecorded]:
    """Return the log's audit events of one action, once there is one."""
    async with asyncio.timeout(10):
        while True:
            events = [record.event for record in await log.read(subject, limit=5000)]
            found = [event for event in events if isinstance(event, AuditRecorded) and event.data.action == action]
            if found:
                return found
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def other_service(own_broker: BinaryBroker, ingest_url: str) -> AsyncIterator[BusResolver]:
    """Resolve credentials as the library and the scheduler do."""
    connection = LateConnection(Settings(nats_url=own_broker.url), "library")
    assert await connection.connect()
    resolver = BusResolver(lambda: connection.client, ingest_url, WORD)
    try:
        yield resolver
    finally:
        await resolver.close()
        await connection.close()


@pytest.mark.parametrize("prefix", ["/auth", "/api/auth"])
def test_a_refresh_answers_with_its_body_v2(ingest: Ingest, editor: Person, prefix: str) -> None:
    """Predecessor V2: login and refresh sent an empty body over a real socket."""
    mine = signed_in(ingest, editor.name)
    answer = refreshed(ingest, mine.refresh, prefix)
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["content-length"]) == len(answer.content) > 100
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers, "a browser has a session; nothing here is sent by itself"
    told = answer.json()
    assert (told["token_type"], told["expires_in"], told["refresh_expires_in"]) == ("bearer", 900, 30 * 86400)
    assert told["access_token"] != mine.access
    later = Person(mine.id, mine.name, mine.url, told["access_token"], told["refresh_token"])
    assert later.ask("GET", "/api/auth/me").json()["id"] == editor.id
    assert refreshed(ingest, mine.refresh).json()["refresh_token"] == later.refresh, "a lost answer comes again"
    as_access = asked(ingest.url, "GET", "/api/auth/me", {"Authorization": f"Bearer {later.refresh}"})
    assert code(as_access) == (401, "invalid_credential"), "what refreshes opens nothing else"


def test_ten_connections_with_one_token_get_one_successor(ingest: Ingest, editor: Person) -> None:
    mine = signed_in(ingest, editor.name)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: refreshed(ingest, mine.refresh), range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    assert len({answer.json()["access_token"] for answer in answers}) == 1


async def test_a_stolen_refresh_token_ends_what_came_of_the_sign_in_and_is_audited(
    ingest: Ingest, editor: Person, own_broker: BinaryBroker, log: JetStreamEventLog
) -> None:
    mine = await asyncio.to_thread(signed_in, ingest, editor.name)
    second = (await asyncio.to_thread(refreshed, ingest, mine.refresh)).json()
    async with other_service(own_broker, ingest.url) as elsewhere:
        assert await elsewhere.resolve(digest(second["access_token"])) is not None
        in_the_past(
            ingest, "UPDATE refresh_tokens SET used_at = used_at - 60 WHERE token_hash = ?", digest(mine.refresh)
        )
        assert code(await asyncio.to_thread(refreshed, ingest, mine.refresh)) == (401, "refresh_invalid")
        for token in (mine.access, second["access_token"]):
            shown = {"Authorization": f"Bearer {token}"}
            answer = await asyncio.to_thread(asked, ingest.url, "GET", "/api/auth/me", shown)
            assert code(answer) == (401, "invalid_credential")
        assert await refused_within_a_second(elsewhere, second["access_token"])
    assert code(await asyncio.to_thread(refreshed, ingest, second["refresh_token"])) == (401, "refresh_invalid")
    (event,) = await audited(log, audit_subject(editor.id), "token.reused")
    assert (event.data.outcome, event.data.about[:4], event.data.address) == ("refused", "fam_", "127.0.0.1")


async def refused_within_a_second(resolver: BusResolver, credential: str) -> bool:
    deadline = time.monotonic() + AT_ONCE_S
    while time.monotonic() < deadline:
        if await resolver.resolve(digest(credential)) is None:
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.parametrize(
    "body", [{}, {"refresh_token": ""}, {"refresh_token": 5}, {"refresh_token": "x" * 129}, {"token": "dubr_x"}]
)
def test_what_is_no_refresh_is_refused(ingest: Ingest, body: dict[str, object]) -> None:
    assert code(asked(ingest.url, "POST", "/auth/refresh", json=body)) == (422, "invalid_request")


def test_a_key_is_shown_once_and_works(ingest: Ingest, editor: Person) -> None:
    made = new_key(editor, scopes=["read:job"], name="nightly")
    assert set(made) >= {"id", "prefix", "key", "scopes", "user_id"}, "the predecessor's members"
    assert made["key"].startswith(f"{made['prefix']}_")
    assert made["user_id"] == editor.id
    me = with_key(ingest, made["key"], "GET", "/api/auth/me").json()
    assert (me["id"], me["kind"], me["scopes"]) == (editor.id, "key", ["read:job"])
    for path in ("/keys", "/api/keys"):
        listed = editor.ask("GET", path)
        assert made["key"] not in listed.text
        (mine,) = [key for key in listed.json()["items"] if key["id"] == made["id"]]
        assert mine == {name: value for name, value in made.items() if name != "key"} | {
            "last_used_at": mine["last_used_at"]
        }


def test_an_admins_narrow_key_does_not_administer_b4(ingest: Ingest, admin: Person) -> None:
    """Predecessor B4: API keys of an admin ignored their scopes."""
    key = new_key(admin, scopes=["read:job"])["key"]
    assert code(with_key(ingest, key, "GET", "/api/users")) == (403, "scope_missing")
    assert code(with_key(ingest, key, "POST", "/api/presets", json={"name": "x"})) == (403, "scope_missing")
    assert admin.ask("GET", "/api/users").status_code == 200
    assert with_key(ingest, new_key(admin, scopes=["admin:*"])["key"], "GET", "/api/users").status_code == 200


def test_no_key_says_who_may_come_in_however_wide(ingest: Ingest, editor: Person) -> None:
    """What it let in would outlive its revocation."""
    admin = invited(ingest, "agnes", "admin")
    key = new_key(admin, scopes=["admin:*", "edit:job", "submit:job", "read:job"])["key"]
    for method, path, body in (
        ("PUT", f"/api/users/{editor.id}", {"role": "admin"}),
        ("PUT", f"/api/users/{editor.id}", {"disabled": True}),
        ("POST", "/api/admin/invites", {"role": "admin"}),
        ("POST", "/api/admin/invites", {"role": "viewer"}),
        ("DELETE", "/api/admin/invites/inv_0123456789abcdef", None),
        ("POST", f"/api/users/{editor.id}/password_reset", None),
    ):
        assert code(with_key(ingest, key, method, path, json=body)) == (403, "person_needed"), path
    assert admin.ask("GET", f"/api/users/{editor.id}").json()["role"] == "editor"
    assert editor.ask("GET", "/api/auth/me").status_code == 200


@pytest.mark.parametrize("prefix", ["/keys", "/api/keys"])
def test_no_key_makes_or_revokes_a_key_however_wide(ingest: Ingest, admin: Person, prefix: str) -> None:
    made = new_key(admin, scopes=["read:job", "submit:job", "edit:job", "admin:*"])
    for method, path in (("GET", prefix), ("POST", prefix), ("DELETE", f"{prefix}/{made['id']}")):
        answer = with_key(ingest, made["key"], method, path, **({"json": {}} if method == "POST" else {}))
        assert code(answer) == (403, "person_needed")
    assert code(asked(ingest.url, "POST", prefix, json={})) == (401, "not_signed_in")


def test_people_make_keys_for_themselves_and_admins_for_others(ingest: Ingest, admin: Person, editor: Person) -> None:
    assert code(editor.ask("POST", "/keys", json={"user_id": admin.id})) == (403, "admin_needed")
    assert code(editor.ask("POST", "/keys", json={"scopes": ["admin:*"]})) == (403, "scope_not_granted")
    assert code(editor.ask("GET", "/keys", params={"user_id": admin.id})) == (403, "admin_needed")
    made = new_key(admin, user_id=editor.id, scopes=["edit:job"])
    assert with_key(ingest, made["key"], "GET", "/api/auth/me").json()["id"] == editor.id
    assert code(admin.ask("POST", "/keys", json={"user_id": editor.id, "scopes": ["admin:*"]})) == (
        403, "scope_not_granted",
    )  # fmt: skip
    assert code(admin.ask("POST", "/keys", json={"user_id": "u_0000000000000000"})) == (404, "user_not_found")
    own, everybodys = (person.ask("GET", "/keys").json()["items"] for person in (editor, admin))
    assert {key["user_id"] for key in own} == {editor.id}
    assert {key["user_id"] for key in everybodys} >= {admin.id, editor.id}
    theirs = new_key(admin)
    assert code(editor.ask("POST", f"/keys/{theirs['id']}/revoke")) == (404, "key_not_found"), "nor that there is one"
    assert with_key(ingest, theirs["key"], "GET", "/api/auth/me").status_code == 200


def test_keys_are_made_and_revoked_only_after_a_fresh_proof(ingest: Ingest, editor: Person) -> None:
    made = new_key(editor)
    mine = signed_in(ingest, editor.name)
    old = "UPDATE token_families SET confirmed_at = confirmed_at - 301 WHERE id = (SELECT family_id FROM access_tokens "
    in_the_past(ingest, f"{old} WHERE token_hash = ?)", digest(mine.access))
    for method, path in (("POST", "/keys"), ("POST", f"/keys/{made['id']}/revoke"), ("DELETE", f"/keys/{made['id']}")):
        answer = mine.ask(method, path, **({"json": {}} if path == "/keys" else {}))
        assert code(answer) == (403, "confirmation_required")
    assert with_key(ingest, made["key"], "GET", "/api/auth/me").status_code == 200


@pytest.mark.parametrize(("method", "suffix"), [("POST", "/revoke"), ("DELETE", "")])
async def test_a_revoked_key_is_refused_by_every_service_within_a_second(
    ingest: Ingest, editor: Person, own_broker: BinaryBroker, log: JetStreamEventLog, method: str, suffix: str
) -> None:
    made = await asyncio.to_thread(new_key, editor)
    async with (
        other_service(own_broker, ingest.url) as library,
        other_service(own_broker, "http://127.0.0.1:1") as scheduler,
    ):
        for resolver in (library, scheduler):
            found = await resolver.resolve(digest(made["key"]))
            assert isinstance(found, Principal)
            assert (found.user, found.credential, found.scopes) == (editor.id, made["id"], {"read:job"})
        gone = await asyncio.to_thread(editor.ask, method, f"/api/keys/{made['id']}{suffix}")
        assert gone.json() == {"ok": True, "id": made["id"]}
        answer = await asyncio.to_thread(with_key, ingest, made["key"], "GET", "/api/auth/me")
        assert code(answer) == (401, "invalid_credential"), "here at once"
        assert await refused_within_a_second(library, made["key"])
        assert await refused_within_a_second(scheduler, made["key"])
    again = await asyncio.to_thread(editor.ask, method, f"/api/keys/{made['id']}{suffix}")
    assert again.status_code == 200, "revoking twice is revoking"
    events = await audited(log, audit_subject(editor.id), "key.revoked")
    assert [event.data.detail["key_id"] for event in events].count(made["id"]) == 1


def test_a_key_with_networks_is_refused_from_elsewhere(ingest: Ingest, editor: Person) -> None:
    here = new_key(editor, networks=["127.0.0.0/8", "::1/128"])
    elsewhere = new_key(editor, networks=["192.0.2.0/24"])
    assert with_key(ingest, here["key"], "GET", "/api/auth/me").status_code == 200
    assert code(with_key(ingest, elsewhere["key"], "GET", "/api/auth/me")) == (401, "invalid_credential")
    through = {"X-Api-Key": elsewhere["key"], GATEWAY_HEADER: WORD, "X-Forwarded-For": "192.0.2.9"}
    assert asked(ingest.url, "GET", "/api/auth/me", through).status_code == 200
    spoofed = {"X-Api-Key": elsewhere["key"], "X-Forwarded-For": "192.0.2.9"}
    assert code(asked(ingest.url, "GET", "/api/auth/me", spoofed)) == (401, "invalid_credential")


async def test_the_log_has_what_was_done_and_no_secret_e8(
    ingest: Ingest, admin: Person, editor: Person, log: JetStreamEventLog
) -> None:
    made = await asyncio.to_thread(new_key, admin, user_id=editor.id, name="for edith")
    events = await audited(log, audit_subject(admin.id), "key.created")
    (event,) = [event for event in events if event.data.detail["key_id"] == made["id"]]
    assert (event.actor, event.data.about, event.data.address) == (admin.id, editor.id, "127.0.0.1")
    raw = b"".join(record.raw for record in await log.read(ALL_AUDIT, limit=5000))
    own_log = (ingest.layout.data.parent / f"{ingest.layout.data.name}.log").read_bytes()
    for secret in (made["key"], admin.access, admin.refresh, editor.access, editor.refresh):
        for text in (secret, digest(secret), *(part for part in secret.split("_") if len(part) > 20)):
            assert text.encode() not in raw
            assert text.encode() not in own_log


def test_one_sees_ones_own_events_and_an_admin_everybodys_e6(ingest: Ingest, admin: Person) -> None:
    """Predecessor E6: only today's own events, no admin search."""
    editor = invited(ingest, "emil", "editor")
    key = new_key(editor)
    recent = editor.ask("GET", "/api/audit/recent", params={"limit": 200})
    assert recent.headers["cache-control"] == "no-store"
    items = recent.json()["items"]
    assert {"key.created", "login"} <= {item["action"] for item in items}
    assert all(editor.id in (item["actor"], item["about"]) for item in items)
    assert items[0]["action"] == "key.created", "what was done a moment ago is there, and first"
    assert items[0]["detail"]["key_id"] == key["id"]
    assert [item["time"] for item in items] == sorted((item["time"] for item in items), reverse=True)
    assert len(editor.ask("GET", "/api/audit/recent", params={"limit": 1}).json()["items"]) == 1
    assert code(editor.ask("GET", "/api/audit/recent", params={"user": admin.id})) == (403, "admin_needed")

    def found(**filters: str) -> list[dict[str, str]]:
        answer = admin.ask("GET", "/api/audit/recent", params={"limit": "200"} | filters)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])

    assert {item["actor"] for item in found()} >= {admin.id, editor.id, "local"}
    assert {item["about"] for item in found(user=editor.id)} >= {editor.id}
    assert all(editor.id in (item["actor"], item["about"]) for item in found(user=editor.id))
    assert {item["action"] for item in found(action="key.created")} == {"key.created"}
    assert {item["outcome"] for item in found(outcome="refused")} <= {"refused"}
    first = found()[-1]["time"]
    assert found(until=first) == []
    assert len(found(since=first)) == len(found())
    narrow = new_key(admin)["key"]
    seen = with_key(ingest, narrow, "GET", "/api/audit/recent").json()["items"]
    assert all(admin.id in (item["actor"], item["about"]) for item in seen), "a narrow key sees its owner's"


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 201}, {"outcome": "odd"}, {"since": "yesterday"}, {"since": "2026-01-02T00:00:00"}],
)
def test_an_audit_query_that_means_nothing_is_refused(editor: Person, query: dict[str, str]) -> None:
    assert code(editor.ask("GET", "/api/audit/recent", params=query)) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({GATEWAY_HEADER: WORD}, 200),
        ({}, 403),
        ({GATEWAY_HEADER: ""}, 403),
        ({GATEWAY_HEADER: "another word"}, 403),
        ({"X-Forwarded-For": "127.0.0.1"}, 403),
        ({GATEWAY_HEADER: WORD, "X-Forwarded-For": "127.0.0.1"}, 403),
        ({GATEWAY_HEADER: WORD, "Forwarded": "for=127.0.0.1"}, 403),
        ({GATEWAY_HEADER: WORD, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
def test_who_shows_the_services_word_may_ask_whose_a_credential_is_and_nobody_else_of_this_machine(
    ingest: Ingest, editor: Person, headers: dict[str, str], status: int
) -> None:
    answer = asked(ingest.url, "POST", "/internal/credentials", headers, json={"digest": digest(editor.access)})
    assert answer.status_code == status, answer.text
    if status == 200:
        assert answer.json()["principal"]["user"] == editor.id
        assert editor.access not in answer.text
        unknown = asked(ingest.url, "POST", "/internal/credentials", headers, json={"digest": digest("dubs_x")})
        assert unknown.json() == {"principal": None}


def test_without_a_word_nobody_may_ask_whose_a_credential_is(own_broker: BinaryBroker, tmp_path: Path) -> None:
    body = {"digest": digest("dubs_x")}
    with running_ingest(tmp_path / "data", own_broker.url) as wordless:
        for headers in ({}, {GATEWAY_HEADER: ""}, {GATEWAY_HEADER: WORD}):
            refused = asked(wordless.url, "POST", "/internal/credentials", headers, json=body)
            assert code(refused) == (403, "not_for_clients")
        with wordless.client() as operator:
            assert code(operator.post("/internal/credentials", json=body)) == (403, "not_for_clients")


def test_the_31st_refresh_of_a_minute_is_refused_and_told_when_to_come_again(ingest: Ingest) -> None:
    with httpx.Client(base_url=ingest.url, trust_env=False) as client:
        answers = [client.post("/auth/refresh", json={"refresh_token": f"dubr_{number}"}) for number in range(31)]
    assert code(answers[-1]) == (429, "too_many_requests")
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert {answer.status_code for answer in answers} == {401, 429}


async def test_without_a_broker_keys_are_made_resolved_over_http_and_audited_when_it_is_back(tmp_path: Path) -> None:
    broker = BinaryBroker(tmp_path, free_port())
    away = LateConnection(Settings(nats_url=broker.url), "library")
    with running_ingest(tmp_path / "data", broker.url, ready=False, DUBLINE_GATEWAY_TOKEN=WORD) as ingest:
        resolver = BusResolver(lambda: away.client, ingest.url, WORD)
        try:
            editor = await asyncio.to_thread(invited, ingest, "edith", "editor")
            made = await asyncio.to_thread(new_key, editor)
            found = await resolver.resolve(digest(made["key"]))
            assert found is not None
            assert found.user == editor.id
            gone = await asyncio.to_thread(editor.ask, "DELETE", f"/keys/{made['id']}")
            assert gone.status_code == 200
            async with asyncio.timeout(5):
                while await resolver.resolve(digest(made["key"])) is not None:  # noqa: ASYNC110 -- it has no event
                    await asyncio.sleep(0.02)
            assert editor.ask("GET", "/api/audit/recent").json() == {"items": []}, "what the log has not is not told"
            await asyncio.to_thread(broker.start)
            await make_streams(broker.url)
            async with event_log(broker.url) as log:
                for action in ("key.created", "key.revoked"):
                    (event,) = await audited(log, audit_subject(editor.id), action)
                    assert event.data.detail["key_id"] == made["id"]
        finally:
            await resolver.close()
    broker.stop()
