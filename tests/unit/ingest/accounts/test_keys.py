"""API keys: how they look, how long they count, and that they never may more than was asked of them."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.ingest.accounts import keys
from services.ingest.accounts.db import AuthDb
from services.ingest.accounts.keys import KEYS_MAX, Key, Wanted
from services.ingest.accounts.resolver import look_up
from services.ingest.routes.keys import NewKey
from shared.access.credentials import digest, well_formed_key
from shared.access.principal import Principal, Scope
from shared.problems import Problem
from tests.unit.ingest.accounts.accounts_db import ADMIN, EDITOR, NOW, VIEWER, disable, opened

DAY_S = 86400.0


@pytest.fixture
def db(tmp_path: Path) -> Iterator[AuthDb]:
    found = opened(tmp_path)
    yield found
    found.close()


def made(db: AuthDb, owner: str, *scopes: Scope, **wanted: object) -> tuple[Key, str]:
    asked = Wanted(frozenset(scopes or ("read:job",)), **wanted)  # type: ignore[arg-type]
    return db.write(lambda connection: keys.create(connection, owner, asked, NOW))


def whose(db: AuthDb, key: str, now: float = NOW) -> Principal | None:
    found = db.read(lambda connection: look_up(connection, digest(key), now))
    return found.principal if found else None


def refusal(db: AuthDb, owner: str, *scopes: Scope) -> tuple[int, str]:
    with pytest.raises(Problem) as refused:
        made(db, owner, *scopes)
    return refused.value.status, refused.value.code


def set_role(db: AuthDb, user: str, role: str) -> None:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE users SET role = ? WHERE id = ?", (role, user))

    db.write(work)


def test_a_key_names_itself_and_carries_a_checksum(db: AuthDb) -> None:
    row, key = made(db, EDITOR)
    assert key.startswith(f"{row.prefix}_")
    assert row.prefix == f"dub_{row.id}"
    assert well_formed_key(key)
    assert len(key.split("_")[2]) == 43, "256 bits"
    for position in (5, 25, 40, -1):
        letters = list(key)
        letters[position] = "x" if letters[position] != "x" else "y"
        assert not well_formed_key("".join(letters)), "a mistyped key is known as one without a look-up"


def test_only_a_digest_of_the_key_is_stored(db: AuthDb, tmp_path: Path) -> None:
    _, key = made(db, EDITOR)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert digest(key).encode() in stored
    assert key.split("_")[2].encode() not in stored


def test_a_key_counts_for_90_days_unless_it_says_otherwise(db: AuthDb) -> None:
    row, key = made(db, EDITOR)
    assert row.expires_at == NOW + 90 * DAY_S
    assert whose(db, key, row.expires_at - 1) is not None
    assert whose(db, key, row.expires_at) is None
    row, key = made(db, EDITOR, days=365)
    assert whose(db, key, NOW + 364 * DAY_S) is not None


def test_an_admins_narrow_key_is_narrow_b4(db: AuthDb) -> None:
    """Predecessor B4: API keys of an admin ignored their scopes."""
    _, key = made(db, ADMIN, "read:job")
    who = whose(db, key)
    assert who is not None
    assert (who.role, who.scopes, who.kind) == ("admin", {"read:job"}, "key")
    assert not who.administers
    assert not who.sees(EDITOR, "private")
    assert not who.changes(EDITOR)


def test_the_right_to_administer_is_none_of_the_others(db: AuthDb) -> None:
    _, key = made(db, ADMIN, "admin:*")
    who = whose(db, key)
    assert who is not None
    assert who.administers
    assert not who.may("submit:job")


def test_nobody_gets_a_key_with_more_than_their_role(db: AuthDb) -> None:
    assert refusal(db, VIEWER, "read:job", "submit:job") == (403, "scope_not_granted")
    assert refusal(db, EDITOR, "admin:*") == (403, "scope_not_granted")
    assert made(db, EDITOR, "edit:job", "submit:job", "read:job")[0].scopes == ("read:job", "submit:job", "edit:job")


def test_a_key_never_may_more_than_its_owner_may_now(db: AuthDb) -> None:
    _, key = made(db, EDITOR, "read:job", "edit:job")
    set_role(db, EDITOR, "viewer")
    who = whose(db, key)
    assert who is not None
    assert who.scopes == {"read:job"}
    set_role(db, EDITOR, "admin")
    who = whose(db, key)
    assert who is not None
    assert who.scopes == {"read:job", "edit:job"}, "and never more than was asked for"


def test_a_revoked_key_and_one_of_a_disabled_user_are_nobodys(db: AuthDb) -> None:
    row, key = made(db, EDITOR)
    _, other = made(db, EDITOR)
    assert db.write(lambda connection: keys.revoke(connection, row.id, NOW))
    assert not db.write(lambda connection: keys.revoke(connection, row.id, NOW + 1)), "once"
    assert (whose(db, key), whose(db, other) is not None) == (None, True)
    db.write(lambda connection: disable(connection, EDITOR))
    assert whose(db, other) is None


def test_keys_are_made_for_users_who_can_use_them(db: AuthDb) -> None:
    assert refusal(db, "u_0000000000000000") == (404, "user_not_found")
    db.write(lambda connection: disable(connection, VIEWER))
    assert refusal(db, VIEWER) == (409, "user_disabled")


def test_a_user_has_a_bounded_number_of_usable_keys(db: AuthDb) -> None:
    rows = [made(db, EDITOR)[0] for _ in range(KEYS_MAX)]
    assert refusal(db, EDITOR) == (409, "too_many_keys")
    db.write(lambda connection: keys.revoke(connection, rows[0].id, NOW))
    made(db, EDITOR)


def test_a_list_has_ones_own_keys_or_everybodys(db: AuthDb) -> None:
    first, second, third = made(db, EDITOR)[0], made(db, ADMIN)[0], made(db, EDITOR)[0]
    listed = db.read(lambda connection: keys.listed(connection, EDITOR))
    assert {key.id for key in listed} == {first.id, third.id}
    assert {key.id for key in db.read(lambda connection: keys.listed(connection, None))} == {
        first.id, second.id, third.id,
    }  # fmt: skip


def test_a_key_that_cannot_be_used_is_listed_for_a_month(db: AuthDb) -> None:
    row, _ = made(db, EDITOR)
    made(db, EDITOR, days=365)
    db.write(lambda connection: keys.revoke(connection, row.id, NOW))
    assert db.write(lambda connection: keys.prune(connection, NOW + 29 * DAY_S)) == 0
    assert db.write(lambda connection: keys.prune(connection, NOW + 31 * DAY_S)) == 1
    assert db.read(lambda connection: keys.by_id(connection, row.id)) is None


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("192.168.1.20", True),
        ("::ffff:192.168.1.20", True),
        ("192.168.2.20", False),
        ("2001:db8::7", True),
        ("2001:db8:1::7", False),
        ("", False),
        ("unix:", False),
    ],
)
def test_a_key_with_networks_is_worth_nothing_from_elsewhere(db: AuthDb, address: str, *, may: bool) -> None:
    _, key = made(db, EDITOR, networks=("192.168.1.0/24", "2001:db8::/48"))
    who = whose(db, key)
    assert who is not None
    assert who.comes_from(address) is may


def test_a_key_without_networks_may_come_from_anywhere(db: AuthDb) -> None:
    who = whose(db, made(db, EDITOR)[1])
    assert who is not None
    assert who.comes_from("")


@pytest.mark.parametrize(
    "body",
    [
        {"scopes": []},
        {"scopes": ["read:everything"]},
        {"scopes": "read:job"},
        {"expires_in_days": 0},
        {"expires_in_days": 366},
        {"networks": ["192.168.1.20/24"]},
        {"networks": ["everywhere"]},
        {"networks": ["10.0.0.0/8"] * 17},
        {"name": "n" * 121},
        {"name": "a\u202eb"},
        {"expires": 5},
    ],
)
def test_what_a_key_cannot_be_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NewKey.model_validate(body)


def test_a_key_reads_jobs_unless_more_is_asked_for() -> None:
    asked = NewKey.model_validate({})
    assert (asked.scopes, asked.expires_in_days, asked.networks) == (["read:job"], 90, [])
