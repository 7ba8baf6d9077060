"""How accounts come to be, over a real auth.db: one first admin, one account for each invite, whatever races."""

import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.ingest.accounts import invites, resets, setup, users
from services.ingest.accounts.accounts import offer_setup
from services.ingest.accounts.db import AuthDb
from shared.access.credentials import digest
from shared.layout import Layout
from shared.problems import Problem

NOW = 1_800_000_000.0
HOUR_S = 3600.0
AT_ONCE = 50


@pytest.fixture
def db(tmp_path: Path) -> Iterator[AuthDb]:
    made = AuthDb(tmp_path / "auth.db")
    yield made
    made.close()


def refused(work: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(Problem) as caught:
        work()
    return caught.value.status, caught.value.code


def race(work: Callable[[int], object]) -> "Counter[str]":
    """Let 50 threads do it at once; return how often it was done, and each refusal's code."""
    barrier, outcomes = threading.Barrier(AT_ONCE), []

    def one(number: int) -> None:
        barrier.wait()
        try:
            work(number)
            outcomes.append("done")
        except Problem as problem:
            outcomes.append(problem.code)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(outcomes)


def new_setup_token(db: AuthDb, now: float = NOW) -> str:
    token = db.write(lambda c: setup.renew_token(c, now))
    assert token is not None
    return token


def test_there_is_no_account_before_set_up(db: AuthDb) -> None:
    assert db.read(users.everyone) == []
    assert db.read(setup.needed)


def test_the_set_up_token_makes_one_admin_and_set_up_is_closed_for_ever(db: AuthDb) -> None:
    token = new_setup_token(db)
    admin = db.write(lambda c: setup.create_admin(c, token, "first", "hash", NOW))
    assert admin.role == "admin"
    assert not db.read(setup.needed)
    assert refused(lambda: db.write(lambda c: setup.create_admin(c, token, "second", "hash", NOW)))[0] == 410
    assert db.write(lambda c: setup.renew_token(c, NOW)) is None


def test_closed_is_derived_from_users_and_not_from_a_flag(db: AuthDb) -> None:
    """A token row that somebody put back opens nothing while there is an admin, not even with that admin disabled."""
    db.write(lambda c: users.create(c, "first", "hash", "admin", NOW))
    token = "dubsetup_" + "x" * 43
    db.write(lambda c: c.execute("INSERT INTO setup_tokens VALUES (?, ?)", (digest(token), NOW + HOUR_S)))
    db.write(lambda c: c.execute("UPDATE users SET disabled_at = 1"))
    assert refused(lambda: db.read(lambda c: setup.check(c, token, NOW))) == (410, "setup_closed")


def test_a_set_up_token_lasts_an_hour_and_each_start_makes_another(db: AuthDb) -> None:
    first = new_setup_token(db)
    second = new_setup_token(db)
    assert refused(lambda: db.read(lambda c: setup.check(c, first, NOW))) == (400, "invalid_setup_token")
    db.read(lambda c: setup.check(c, second, NOW + HOUR_S - 1))
    expired = refused(lambda: db.read(lambda c: setup.check(c, second, NOW + HOUR_S)))
    assert expired == (410, "setup_token_expired")


def test_of_fifty_who_set_up_at_once_one_becomes_the_first_admin(db: AuthDb) -> None:
    token = new_setup_token(db)
    outcome = race(lambda n: db.write(lambda c: setup.create_admin(c, token, f"admin{n}", "hash", NOW)))
    assert outcome == {"done": 1, "setup_closed": AT_ONCE - 1}
    assert [user.role for user in db.read(users.everyone)] == ["admin"]


async def test_a_start_offers_set_up_only_while_there_is_no_admin(db: AuthDb, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    await offer_setup(db, layout)
    token = setup.read_token(layout) or ""
    db.read(lambda c: setup.check(c, token, time.time()))
    db.write(lambda c: users.create(c, "first", "hash", "admin", NOW))
    await offer_setup(db, layout)
    assert setup.read_token(layout) is None
    assert not layout.setup_token.exists()


def test_the_token_file_is_its_owners_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    path = setup.write_token(layout, "dubsetup_x")
    assert path == layout.setup_token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert setup.read_token(layout) == "dubsetup_x"
    setup.forget_token(layout)
    assert setup.read_token(layout) is None


def test_where_secrets_are_read_only_the_token_lies_beside_auth_db(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    layout.state.mkdir(parents=True)
    layout.secrets.parent.mkdir(exist_ok=True)
    layout.secrets.write_text("in the way of a directory, for root too")
    path = setup.write_token(layout, "dubsetup_x")
    assert path == layout.setup_token_fallback
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert setup.read_token(layout) == "dubsetup_x"
    setup.forget_token(layout)
    assert os.listdir(layout.state) == []  # noqa: PTH208 -- names alone


def new_invite(db: AuthDb, hours: int = 24, role: users.Role = "operator") -> tuple[invites.Invite, str]:
    return db.write(lambda c: invites.make(c, role, "u_admin", hours, NOW))


def test_an_invite_makes_one_account_with_its_role(db: AuthDb) -> None:
    invite, token = new_invite(db)
    user = db.write(lambda c: invites.redeem(c, token, "maria", "hash", NOW + 1))
    assert user.role == "operator"
    again = refused(lambda: db.write(lambda c: invites.redeem(c, token, "other", "hash", NOW + 2)))
    assert again == (410, "invite_used")
    (kept,) = db.read(invites.everyone)
    assert (kept.id, kept.used_by, kept.state(NOW + 2)) == (invite.id, user.id, "used")


def test_an_invite_ends_with_its_time_or_when_it_is_withdrawn(db: AuthDb) -> None:
    invite, token = new_invite(db, hours=2)
    db.read(lambda c: invites.check(c, token, NOW + 2 * HOUR_S - 1))
    late = refused(lambda: db.read(lambda c: invites.check(c, token, NOW + 2 * HOUR_S)))
    assert late == (410, "invite_expired")
    assert db.write(lambda c: invites.revoke(c, invite.id, NOW)).state(NOW) == "revoked"
    assert refused(lambda: db.read(lambda c: invites.check(c, token, NOW))) == (410, "invite_expired")
    nothing = refused(lambda: db.write(lambda c: invites.revoke(c, "inv_0000000000000000", NOW)))
    assert nothing == (404, "invite_not_found")


def test_what_is_no_invite_is_refused_and_a_taken_name_leaves_the_invite_open(db: AuthDb) -> None:
    _, token = new_invite(db)
    for wrong in ("", "dubinvite_", token[:-1], token + "x", token.upper()):
        found = refused(lambda wrong=wrong: db.read(lambda c: invites.check(c, wrong, NOW)))  # type: ignore[misc]
        assert found == (400, "invalid_invite")
    db.write(lambda c: users.create(c, "maria", "hash", "viewer", NOW))
    taken = refused(lambda: db.write(lambda c: invites.redeem(c, token, "Maria", "hash", NOW)))
    assert taken == (409, "username_taken")
    db.write(lambda c: invites.redeem(c, token, "other", "hash", NOW))


def test_of_fifty_who_redeem_one_invite_at_once_one_gets_the_account(db: AuthDb) -> None:
    _, token = new_invite(db)
    outcome = race(lambda n: db.write(lambda c: invites.redeem(c, token, f"guest{n}", "hash", NOW)))
    assert outcome == {"done": 1, "invite_used": AT_ONCE - 1}
    assert len(db.read(users.everyone)) == 1


def test_a_reset_token_is_good_once_for_an_hour_and_the_last_one_alone(db: AuthDb) -> None:
    maria = db.write(lambda c: users.create(c, "maria", "old", "viewer", NOW))
    first = db.write(lambda c: resets.make(c, maria.id, NOW))
    token = db.write(lambda c: resets.make(c, maria.id, NOW))
    for wrong, at in ((first, NOW), (token, NOW + HOUR_S), (token + "x", NOW)):
        found = refused(lambda wrong=wrong, at=at: db.read(lambda c: resets.check(c, wrong, at)))  # type: ignore[misc]
        assert found == (400, "invalid_reset")
    outcome = race(lambda n: db.write(lambda c: resets.redeem(c, token, f"new{n}", NOW)))
    assert outcome == {"done": 1, "invalid_reset": AT_ONCE - 1}
    assert str(db.read(lambda c: users.password_hash(c, maria.id))).startswith("new")


def test_a_disabled_user_resets_nothing(db: AuthDb) -> None:
    maria = db.write(lambda c: users.create(c, "maria", "old", "viewer", NOW))
    token = db.write(lambda c: resets.make(c, maria.id, NOW))
    db.write(lambda c: users.set_disabled(c, maria.id, disabled=True, now=NOW))
    assert refused(lambda: db.write(lambda c: resets.redeem(c, token, "new", NOW)))[0] == 400
