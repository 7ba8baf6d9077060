"""Refresh tokens: one chain for each sign-in, whoever asks and how often."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ingest.accounts import tokens
from services.ingest.accounts.client import Client
from services.ingest.accounts.db import AuthDb
from services.ingest.accounts.resolver import look_up
from services.ingest.accounts.tokens import (
    ACCESS_S,
    FAMILIES_MAX,
    FAMILY_S,
    GRACE_S,
    REFRESH_S,
    Issued,
    NotRotated,
    RotationKeys,
)
from shared.access.credentials import digest
from tests.unit.ingest.accounts.accounts_db import CLIENT, EDITOR, NOW, SECRET, VIEWER, count, disable, opened

KEYS = RotationKeys(SECRET)
DAY_S = 86400.0


@pytest.fixture
def db(tmp_path: Path) -> Iterator[AuthDb]:
    found = opened(tmp_path)
    yield found
    found.close()


def issued(db: AuthDb, now: float = NOW) -> Issued:
    return db.write(lambda connection: tokens.issue(connection, EDITOR, CLIENT, now))


def tried(db: AuthDb, presented: str, now: float) -> Issued | NotRotated:
    return db.write(lambda connection: tokens.rotate(connection, KEYS, presented, CLIENT, now))


def rotated(db: AuthDb, presented: str, now: float) -> Issued:
    done = tried(db, presented, now)
    assert isinstance(done, Issued), done
    return done


def accepted(db: AuthDb, access: str, now: float) -> bool:
    return db.read(lambda connection: look_up(connection, digest(access), now)) is not None


def test_an_access_token_counts_for_15_minutes(db: AuthDb) -> None:
    first = issued(db)
    assert first.expires_at == NOW + ACCESS_S == NOW + 15 * 60
    assert accepted(db, first.access, NOW + ACCESS_S - 1)
    assert not accepted(db, first.access, NOW + ACCESS_S)
    assert not accepted(db, first.refresh, NOW), "what refreshes is no credential"


def test_nothing_that_could_be_shown_is_stored(db: AuthDb, tmp_path: Path) -> None:
    first = issued(db)
    second = rotated(db, first.refresh, NOW + 1)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert digest(second.refresh).encode() in stored
    for token in (first.access, first.refresh, second.access, second.refresh):
        assert token.encode() not in stored
        assert token.split("_")[1].encode() not in stored


def test_each_refresh_gives_another_pair_of_256_bits(db: AuthDb) -> None:
    seen = set()
    pair = issued(db)
    for step in range(20):
        seen |= {pair.access, pair.refresh}
        pair = rotated(db, pair.refresh, NOW + 60 * step)
        assert (pair.access[:5], pair.refresh[:5]) == ("duba_", "dubr_")
        assert len(pair.refresh) == len("dubr_") + 43
    assert len(seen) == 40


def test_a_refresh_token_slides_for_30_days_and_its_family_ends_after_90(db: AuthDb) -> None:
    pair, now = issued(db), NOW
    assert pair.refresh_expires_at == NOW + REFRESH_S == NOW + 30 * DAY_S
    for _ in range(3):
        now += 29 * DAY_S
        pair = rotated(db, pair.refresh, now)
    assert pair.refresh_expires_at == NOW + FAMILY_S == NOW + 90 * DAY_S
    assert tried(db, pair.refresh, NOW + FAMILY_S) == NotRotated("ended", pair.family_id, EDITOR)


def test_a_refresh_token_that_nobody_used_for_30_days_is_worth_nothing(db: AuthDb) -> None:
    pair = issued(db)
    assert tried(db, pair.refresh, NOW + REFRESH_S) == NotRotated("ended", pair.family_id, EDITOR)
    assert accepted(db, pair.access, NOW), "that is no reuse: nothing is revoked"


@pytest.mark.parametrize("presented", ["", "dubr_", "duba_" + "x" * 43, "dubr_" + "x" * 43, "\udcff", "' OR 1=1 --"])
def test_what_is_no_refresh_token_is_unknown(db: AuthDb, presented: str) -> None:
    issued(db)
    assert tried(db, presented, NOW) == NotRotated("unknown")


def test_within_the_grace_the_same_token_gets_the_same_answer(db: AuthDb) -> None:
    first = issued(db)
    second = rotated(db, first.refresh, NOW + 100)
    for later in (0, -0.2, 5, GRACE_S):
        assert rotated(db, first.refresh, NOW + 100 + later) == second
    assert accepted(db, second.access, NOW + 110)
    assert count(db, "SELECT count(*) FROM refresh_tokens") == 2
    assert rotated(db, second.refresh, NOW + 111).family_id == first.family_id
    assert GRACE_S <= 10


def test_a_used_token_ends_its_family_and_no_other(db: AuthDb) -> None:
    first, other = issued(db), issued(db)
    second = rotated(db, first.refresh, NOW + 100)
    late = NOW + 100 + GRACE_S + 0.01
    assert tried(db, first.refresh, late) == NotRotated("reused", first.family_id, EDITOR)
    assert not accepted(db, second.access, late)
    assert tried(db, second.refresh, late) == NotRotated("ended", first.family_id, EDITOR), "thief and owner alike"
    assert tried(db, first.refresh, late) == NotRotated("ended", first.family_id, EDITOR), "told once"
    assert accepted(db, other.access, late)
    assert isinstance(tried(db, other.refresh, late), Issued)


def test_a_clock_that_is_set_back_makes_no_grace(db: AuthDb) -> None:
    first = issued(db)
    rotated(db, first.refresh, NOW + 100)
    back = tried(db, first.refresh, NOW + 100 - 30 * DAY_S)
    assert back == NotRotated("reused", first.family_id, EDITOR)


def test_the_successor_cannot_be_made_without_the_key_beside_the_database(db: AuthDb) -> None:
    first = issued(db)
    second = rotated(db, first.refresh, NOW + 1)
    assert KEYS.successor("refresh", first.refresh) == second.refresh
    assert RotationKeys(bytes(32)).successor("refresh", first.refresh) != second.refresh
    assert KEYS.successor("access", first.refresh)[5:] != second.refresh[5:], "one key for each purpose"


def test_with_another_key_file_a_grace_answer_is_refused_and_the_chain_goes_on(db: AuthDb) -> None:
    first = issued(db)
    second = rotated(db, first.refresh, NOW + 1)
    other = RotationKeys(bytes(32))
    done = db.write(lambda connection: tokens.rotate(connection, other, first.refresh, CLIENT, NOW + 2))
    assert done == NotRotated("ended", first.family_id, EDITOR)
    done = db.write(lambda connection: tokens.rotate(connection, other, second.refresh, CLIENT, NOW + 3))
    assert isinstance(done, Issued)


def test_a_disabled_user_refreshes_nothing(db: AuthDb) -> None:
    first = issued(db)
    db.write(lambda connection: disable(connection, EDITOR))
    assert tried(db, first.refresh, NOW + 1) == NotRotated("ended", first.family_id, EDITOR)
    assert not accepted(db, first.access, NOW + 1)


def test_signing_out_ends_one_family_and_everywhere_all_but_the_one_kept(db: AuthDb) -> None:
    first, second, third = issued(db), issued(db), issued(db)
    strangers = db.write(lambda connection: tokens.issue(connection, VIEWER, CLIENT, NOW))
    assert db.write(lambda connection: tokens.revoke_family(connection, first.family_id, NOW))
    assert not db.write(lambda connection: tokens.revoke_family(connection, first.family_id, NOW)), "once"
    ended = db.write(lambda connection: tokens.revoke_all(connection, EDITOR, NOW, keep=third.family_id))
    assert ended == {second.family_id}
    alive = [pair for pair in (first, second, third, strangers) if accepted(db, pair.access, NOW)]
    assert alive == [third, strangers]


def test_the_last_address_is_the_one_that_refreshed(db: AuthDb) -> None:
    first = issued(db)
    elsewhere = Client("198.51.100.9", "python", "")
    db.write(lambda connection: tokens.rotate(connection, KEYS, first.refresh, elsewhere, NOW + 1))
    where = "SELECT count(*) FROM token_families WHERE created_ip = ? AND last_ip = ? AND last_used_at = ?"
    assert count(db, where, CLIENT.address, elsewhere.address, NOW + 1) == 1


def test_a_user_has_so_many_families_and_the_oldest_go(db: AuthDb) -> None:
    oldest = issued(db)
    for step in range(FAMILIES_MAX):
        newest = issued(db, NOW + step + 1)
    assert count(db, "SELECT count(*) FROM token_families") == FAMILIES_MAX
    assert not accepted(db, oldest.access, NOW + 1)
    assert accepted(db, newest.access, NOW + FAMILIES_MAX)


def test_pruning_keeps_what_a_reuse_would_be_seen_by(db: AuthDb) -> None:
    first = issued(db)
    second = rotated(db, first.refresh, NOW + DAY_S)
    db.write(lambda connection: tokens.prune(connection, NOW + 29 * DAY_S))
    assert count(db, "SELECT count(*) FROM access_tokens") == 0
    assert tried(db, first.refresh, NOW + 29 * DAY_S).reason == "reused"  # type: ignore[union-attr]
    db.write(lambda connection: tokens.prune(connection, NOW + 31 * DAY_S))
    assert tried(db, second.refresh, NOW + 31 * DAY_S) == NotRotated("unknown")
    for table in ("token_families", "refresh_tokens", "access_tokens"):
        assert count(db, f"SELECT count(*) FROM {table}") == 0


def test_50_threads_with_one_token_leave_exactly_one_chain(db: AuthDb) -> None:
    """Reference: 50 parallel refreshes. Each gets an answer, and it is the same one."""
    first = issued(db)
    found: list[Issued | NotRotated] = []
    together = threading.Barrier(50)

    def refresh(number: int) -> None:
        together.wait()
        found.append(tried(db, first.refresh, NOW + 1 + number / 100))

    threads = [threading.Thread(target=refresh, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 50
    assert len(set(found)) == 1
    (second,) = set(found)
    assert isinstance(second, Issued)
    assert count(db, "SELECT count(*) FROM refresh_tokens WHERE state = 'active'") == 1
    assert count(db, "SELECT count(*) FROM refresh_tokens") == 2
    assert count(db, "SELECT count(*) FROM access_tokens") == 2
    assert isinstance(tried(db, second.refresh, NOW + 3), Issued)
