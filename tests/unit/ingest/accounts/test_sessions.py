"""Browser sessions in a real auth.db. B6: the predecessor's session cookie died after 15 minutes in the browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ingest.accounts import devices, sessions, tokens, users
from services.ingest.accounts.client import Client
from services.ingest.accounts.db import AuthDb
from services.ingest.accounts.sessions import ABSOLUTE_S, IDLE_S, Opened, Session
from shared.access.credentials import digest

NOW = 1_800_000_000.0
CLIENT = Client("192.0.2.7", "Firefox", "laptop")
DAY_S = 86400.0


@pytest.fixture
def db(tmp_path: Path) -> Iterator[AuthDb]:
    made = AuthDb(tmp_path / "auth.db")
    yield made
    made.close()


@pytest.fixture
def maria(db: AuthDb) -> str:
    return db.write(lambda c: users.create(c, "maria", "hash", "viewer", NOW)).id


def opened(db: AuthDb, user: str, now: float = NOW) -> Opened:
    return db.write(lambda c: sessions.open_session(c, user, "password", CLIENT, now))


def found(db: AuthDb, token: str, now: float) -> Session | None:
    return db.read(lambda c: sessions.find(c, digest(token), now))


def test_a_token_has_256_bits_and_only_its_digest_is_kept(db: AuthDb, maria: str, tmp_path: Path) -> None:
    one, other = opened(db, maria), opened(db, maria)
    assert one.token != other.token
    assert one.token.startswith("dubs_")
    assert len(one.token) == len("dubs_") + 43
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert digest(one.token).encode() in stored
    assert one.token.removeprefix("dubs_").encode() not in stored


def test_b6_a_session_in_use_lasts_thirty_days_and_no_longer(db: AuthDb, maria: str) -> None:
    session = opened(db, maria)
    now = NOW
    while now + 6 * DAY_S < NOW + ABSOLUTE_S:
        now += 6 * DAY_S
        assert found(db, session.token, now) is not None
        db.write(lambda c, now=now: sessions.touch(c, session.session_id, now))  # type: ignore[misc]
    assert found(db, session.token, NOW + ABSOLUTE_S - 1) is not None
    assert found(db, session.token, NOW + ABSOLUTE_S) is None


def test_a_session_that_nobody_uses_ends_after_seven_days(db: AuthDb, maria: str) -> None:
    session = opened(db, maria)
    assert found(db, session.token, NOW + IDLE_S - 1) is not None
    assert found(db, session.token, NOW + IDLE_S) is None
    assert db.read(lambda c: sessions.of_user(c, maria, NOW + IDLE_S)) == []
    assert db.write(lambda c: sessions.prune(c, NOW + IDLE_S)) == 1


def test_a_use_is_written_down_at_most_once_a_minute_and_never_backwards(db: AuthDb, maria: str) -> None:
    session = opened(db, maria)
    row = found(db, session.token, NOW + 59)
    assert row is not None
    assert not sessions.stale(row, NOW + 59)
    assert sessions.stale(row, NOW + 60)
    db.write(lambda c: sessions.touch(c, session.session_id, NOW + 60))
    db.write(lambda c: sessions.touch(c, session.session_id, NOW + 30))
    row = found(db, session.token, NOW + 61)
    assert row is not None
    assert row.last_used_at == NOW + 60


def test_a_proof_gives_a_session_another_token_and_leaves_all_else_of_it(db: AuthDb, maria: str) -> None:
    one, other = opened(db, maria), opened(db, maria)
    (before,) = [each for each in db.read(lambda c: devices.of_user(c, maria, NOW)) if each.id == one.session_id]
    renewed = db.write(lambda c: sessions.renew(c, digest(one.token), NOW + 500))
    assert renewed is not None
    assert (renewed.session_id, renewed.expires_at) == (one.session_id, one.expires_at)
    assert found(db, one.token, NOW + 501) is None
    confirmed, untouched = found(db, renewed.token, NOW + 501), found(db, other.token, NOW + 501)
    assert confirmed is not None
    assert untouched is not None
    assert (confirmed.confirmed_at, untouched.confirmed_at) == (NOW + 500, NOW)
    assert before in db.read(lambda c: devices.of_user(c, maria, NOW + 501))


def test_of_two_proofs_with_one_token_one_renews_it(db: AuthDb, maria: str) -> None:
    session = opened(db, maria)
    first, second = (db.write(lambda c: sessions.renew(c, digest(session.token), NOW + 1)) for _ in range(2))
    assert first is not None
    assert second is None
    assert found(db, first.token, NOW + 2) is not None


def test_a_session_that_somebody_else_let_in_has_proved_nothing(db: AuthDb, maria: str) -> None:
    session = opened(db, maria)
    db.write(lambda c: sessions.forget_proof(c, session.session_id))
    row = found(db, session.token, NOW)
    assert row is not None
    assert row.confirmed_at == 0


def test_devices_are_sessions_and_tokens_together_and_one_of_another_user_cannot_be_ended(
    db: AuthDb, maria: str
) -> None:
    other = db.write(lambda c: users.create(c, "other", "hash", "viewer", NOW)).id
    session, theirs = opened(db, maria), opened(db, other)
    issued = db.write(lambda c: tokens.issue(c, maria, CLIENT, NOW + 1))
    listed = db.read(lambda c: devices.of_user(c, maria, NOW + 2))
    assert [(each.id, each.kind, each.name) for each in listed] == [
        (issued.family_id, "token", "laptop"),
        (session.session_id, "session", "laptop"),
    ]
    assert not db.write(lambda c: devices.end(c, maria, theirs.session_id, NOW))
    assert db.write(lambda c: devices.end(c, maria, issued.family_id, NOW + 2))
    assert not db.write(lambda c: devices.end(c, maria, issued.family_id, NOW + 2))
    assert [each.id for each in db.read(lambda c: devices.of_user(c, maria, NOW + 2))] == [session.session_id]
    assert found(db, theirs.token, NOW + 2) is not None


def test_all_end_but_the_one_that_is_kept(db: AuthDb, maria: str) -> None:
    kept, *others = [opened(db, maria) for _ in range(3)]
    issued = db.write(lambda c: tokens.issue(c, maria, CLIENT, NOW))
    ended = db.write(lambda c: devices.end_all(c, maria, NOW, keep=kept.session_id))
    assert ended == {issued.family_id, *(each.session_id for each in others)}
    assert [each.id for each in db.read(lambda c: devices.of_user(c, maria, NOW))] == [kept.session_id]
