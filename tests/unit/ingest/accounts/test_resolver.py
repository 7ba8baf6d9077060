"""Whose a credential is: what expires, what is remembered, and that a revocation wins over memory."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.ingest.accounts import keys, sessions, tokens
from services.ingest.accounts.answering import NO_ANSWER, Answering
from services.ingest.accounts.db import AuthDb
from services.ingest.accounts.keys import Wanted
from services.ingest.accounts.resolver import CACHE_MAX, CACHE_S, TOUCH_S, StoreResolver
from shared.access.credentials import digest
from shared.access.resolution import AccessUnavailableError, ResolveAnswer, ResolveRequest, Revoked
from tests.unit.ingest.accounts.accounts_db import CLIENT, EDITOR, NOW, VIEWER, count, disable, opened

DAY_S = 86400.0


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def db(tmp_path: Path) -> AuthDb:
    return opened(tmp_path)


@pytest.fixture
async def resolver(db: AuthDb, clock: Clock) -> AsyncIterator[StoreResolver]:
    found = StoreResolver(db, clock)
    yield found
    await found.close()
    db.close()


def session(db: AuthDb, user: str = EDITOR) -> sessions.Opened:
    return db.write(lambda connection: sessions.open_session(connection, user, "password", CLIENT, NOW))


def key(db: AuthDb, user: str = EDITOR) -> tuple[keys.Key, str]:
    return db.write(lambda connection: keys.create(connection, user, Wanted(frozenset({"read:job"})), NOW))


async def test_each_kind_of_credential_is_found_by_its_digest(db: AuthDb, resolver: StoreResolver) -> None:
    browser = session(db)
    pair = db.write(lambda connection: tokens.issue(connection, EDITOR, CLIENT, NOW))
    row, program = key(db)
    found = {}
    for credential in (browser.token, pair.access, program):
        who = await resolver.resolve(digest(credential))
        assert who is not None
        assert (who.user, who.name, who.role) == (EDITOR, "edith", "editor")
        found[who.kind] = who
    assert {kind: who.credential for kind, who in found.items()} == {
        "session": browser.session_id, "token": pair.family_id, "key": row.id,
    }  # fmt: skip
    assert found["session"].scopes == found["token"].scopes == {"read:job", "submit:job", "edit:job"}
    assert found["key"].scopes == {"read:job"}
    assert found["session"].confirmed_at is not None
    assert found["token"].confirmed_at is not None
    assert found["key"].confirmed_at is None, "a key proves nothing about its owner"
    assert await resolver.resolve(digest(pair.refresh)) is None
    assert await resolver.resolve(browser.token) is None, "a digest is not looked for as a token"
    assert await resolver.resolve("") is None


async def test_a_session_ends_after_7_idle_days_and_after_30(db: AuthDb, resolver: StoreResolver, clock: Clock) -> None:
    browser = session(db)
    shown = digest(browser.token)
    clock.now = NOW + 7 * DAY_S - 1
    who = await resolver.resolve(shown)
    assert who is not None
    assert who.expires_at is not None
    assert who.expires_at.timestamp() == NOW + 7 * DAY_S
    clock.now = NOW + 7 * DAY_S
    assert await resolver.resolve(shown) is None, "also what is remembered"
    for day in range(1, 30):
        clock.now = NOW + day * DAY_S
        used = clock.now
        db.write(lambda connection: sessions.touch(connection, browser.session_id, used))  # noqa: B023 -- called at once
    clock.now = NOW + 30 * DAY_S - 1
    assert await resolver.resolve(shown) is not None
    clock.now = NOW + 30 * DAY_S
    assert await resolver.resolve(shown) is None


async def test_an_answer_is_remembered_for_5_seconds_at_most(
    db: AuthDb, resolver: StoreResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = digest(session(db).token)
    now = [1000.0]
    monkeypatch.setattr("services.ingest.accounts.resolver.time.monotonic", lambda: now[0])
    assert await resolver.resolve(shown) is not None
    db.write(lambda connection: disable(connection, EDITOR))
    now[0] += CACHE_S - 0.1
    assert await resolver.resolve(shown) is not None, "nobody told"
    now[0] += 0.1
    assert await resolver.resolve(shown) is None
    assert CACHE_S <= 5


async def test_a_revocation_wins_over_memory_at_once(db: AuthDb, resolver: StoreResolver) -> None:
    row, program = key(db)
    browser, other = session(db), session(db, VIEWER)
    for credential in (program, browser.token, other.token):
        assert await resolver.resolve(digest(credential)) is not None
    db.write(lambda connection: keys.revoke(connection, row.id, NOW))
    resolver.forget(Revoked(credentials=frozenset({row.id})))
    assert await resolver.resolve(digest(program)) is None
    db.write(lambda connection: disable(connection, EDITOR))
    resolver.forget(Revoked(user=EDITOR))
    assert await resolver.resolve(digest(browser.token)) is None
    assert await resolver.resolve(digest(other.token)) is not None


async def test_a_token_that_another_one_took_the_place_of_is_refused_at_once(
    db: AuthDb, resolver: StoreResolver
) -> None:
    browser = session(db)
    old = digest(browser.token)
    assert await resolver.resolve(old) is not None
    renewed = db.write(lambda connection: sessions.renew(connection, old, NOW + 1))
    assert renewed is not None
    resolver.forget(Revoked(digests=frozenset({old})))
    assert await resolver.resolve(old) is None
    principal = await resolver.resolve(digest(renewed.token))
    assert principal is not None
    assert principal.credential == browser.session_id


async def test_what_was_read_before_a_revocation_is_neither_answered_nor_remembered_after_it(
    db: AuthDb, resolver: StoreResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, program = key(db)
    reading = db.reading
    revoked = False

    async def slow(work: object) -> object:
        nonlocal revoked
        found = await reading(work)  # type: ignore[arg-type]
        if not revoked:
            revoked = True
            await db.writing(lambda connection: keys.revoke(connection, row.id, NOW))
            resolver.forget(Revoked(credentials=frozenset({row.id})))
        return found

    monkeypatch.setattr(db, "reading", slow)
    assert await resolver.resolve(digest(program)) is None


async def test_a_key_that_is_used_by_50_threads_is_refused_by_all_once_it_is_revoked(
    db: AuthDb, resolver: StoreResolver
) -> None:
    row, program = key(db)
    shown = digest(program)
    loop = asyncio.get_running_loop()
    together = threading.Barrier(51)
    over = threading.Event()
    after: list[bool] = []

    def use() -> None:
        together.wait()
        used = 0
        while not over.is_set() or used == 0:
            asyncio.run_coroutine_threadsafe(resolver.resolve(shown), loop).result(10)
            used += 1
        after.append(asyncio.run_coroutine_threadsafe(resolver.resolve(shown), loop).result(10) is not None)

    threads = [threading.Thread(target=use) for _ in range(50)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(together.wait)
    await db.writing(lambda connection: keys.revoke(connection, row.id, NOW))
    resolver.forget(Revoked(credentials=frozenset({row.id})))
    over.set()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert after == [False] * 50


async def test_a_use_is_written_down_once_a_minute(db: AuthDb, resolver: StoreResolver, clock: Clock) -> None:
    row, program = key(db)
    used = "SELECT coalesce(last_used_at, 0) FROM api_keys WHERE id = ?"

    async def use(now: float) -> None:
        clock.now = now
        resolver.forget(Revoked(user=EDITOR))  # as if five seconds had gone
        assert await resolver.resolve(digest(program)) is not None

    await use(NOW + 1)
    await resolver.close()
    assert count(db, used, row.id) == int(NOW + 1)
    await use(NOW + TOUCH_S)
    await resolver.close()
    assert count(db, used, row.id) == int(NOW + 1)
    await use(NOW + 1 + TOUCH_S)
    await resolver.close()
    assert count(db, used, row.id) == int(NOW + 1 + TOUCH_S)


async def test_a_session_that_is_used_does_not_get_idle(db: AuthDb, resolver: StoreResolver, clock: Clock) -> None:
    browser = session(db)
    for day in range(6, 30, 6):
        clock.now = NOW + day * DAY_S
        assert await resolver.resolve(digest(browser.token)) is not None
        await resolver.close()
        resolver.forget(Revoked(user=EDITOR))


async def test_memory_is_bounded(db: AuthDb, resolver: StoreResolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ingest.accounts.resolver.CACHE_MAX", 3)
    browsers = [session(db) for _ in range(5)]
    for browser in browsers:
        assert await resolver.resolve(digest(browser.token)) is not None
    assert len(resolver._cache) == 3
    assert CACHE_MAX >= 1000


async def test_a_database_that_cannot_be_read_is_no_answer(db: AuthDb, clock: Clock) -> None:
    resolver = StoreResolver(db, clock)
    shown = digest(session(db).token)
    db.close()
    with pytest.raises(AccessUnavailableError):
        await resolver.resolve(shown)
    request = ResolveRequest(digest=shown).model_dump_json().encode()
    assert await Answering(resolver).answer(request) == NO_ANSWER, "never that it is nobody's"


async def test_an_answer_over_the_bus_tells_whose_it_is_and_no_secret(db: AuthDb, resolver: StoreResolver) -> None:
    browser = session(db)
    answering = Answering(resolver)
    raw = await answering.answer(ResolveRequest(digest=digest(browser.token)).model_dump_json().encode())
    principal = ResolveAnswer.model_validate_json(raw).principal
    assert principal == await resolver.resolve(digest(browser.token))
    assert browser.token.encode() not in raw
    raw = await answering.answer(ResolveRequest(digest=digest("dubs_unknown")).model_dump_json().encode())
    assert ResolveAnswer.model_validate_json(raw).principal is None
    for nonsense in (b"", b"null", b"[]", b'{"digest": 5}', b"\xff"):
        assert await answering.answer(nonsense) == NO_ANSWER


async def test_a_locked_database_holds_up_no_reader(db: AuthDb, resolver: StoreResolver) -> None:
    shown = digest(session(db).token)
    writing, done = threading.Event(), threading.Event()

    def hold(_connection: sqlite3.Connection) -> None:
        writing.set()
        done.wait(10)

    writer = threading.Thread(target=db.write, args=(hold,))
    writer.start()
    await asyncio.to_thread(writing.wait)
    async with asyncio.timeout(5):
        assert await resolver.resolve(shown) is not None
    done.set()
    await asyncio.to_thread(writer.join)
