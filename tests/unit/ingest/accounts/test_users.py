"""Users in a real auth.db: names, roles, and the admin who always remains."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ingest.accounts import users
from services.ingest.accounts.db import AuthDb
from shared.problems import Problem

NOW = 1_800_000_000.0


@pytest.fixture
def db(tmp_path: Path) -> Iterator[AuthDb]:
    made = AuthDb(tmp_path / "auth.db")
    yield made
    made.close()


def make(db: AuthDb, name: str, role: users.Role = "viewer") -> users.User:
    return db.write(lambda c: users.create(c, name, "hash", role, NOW))


def code(problem: pytest.ExceptionInfo[Problem]) -> tuple[int, str]:
    return problem.value.status, problem.value.code


def test_a_user_is_found_by_name_in_any_case_and_by_id(db: AuthDb) -> None:
    maria = make(db, "Maria.K-9_x")
    assert maria == users.User(maria.id, "Maria.K-9_x", "viewer", disabled=False, created_at=NOW)
    assert db.read(lambda c: users.by_name(c, "mARIA.k-9_X")) == maria
    assert db.read(lambda c: users.by_id(c, maria.id)) == maria
    assert db.read(lambda c: users.password_hash(c, maria.id)) == "hash"
    for nobody in ("maria", "", "Maria.K-9_x "):
        assert db.read(lambda c, nobody=nobody: users.by_name(c, nobody)) is None  # type: ignore[misc]


@pytest.mark.parametrize(
    "name", ["ab", "", "a" * 65, "ma ria", "mária", "maria\n", "a/b", "a@b.c", "\N{KELVIN SIGN}arl"]
)
def test_other_names_are_refused(db: AuthDb, name: str) -> None:
    with pytest.raises(Problem) as caught:
        make(db, name)
    assert code(caught) == (422, "invalid_username")


def test_a_name_is_one_persons_in_any_case(db: AuthDb) -> None:
    make(db, "maria")
    with pytest.raises(Problem) as caught:
        make(db, "MARIA")
    assert code(caught) == (409, "username_taken")


def test_all_are_listed_by_name(db: AuthDb) -> None:
    for name in ("zoe", "Anna", "maria"):
        make(db, name)
    assert [user.username for user in db.read(users.everyone)] == ["Anna", "maria", "zoe"]


def test_roles_change_and_users_are_kept_out_and_let_in_again(db: AuthDb) -> None:
    maria = make(db, "maria")
    assert db.write(lambda c: users.set_role(c, maria.id, "editor")).role == "editor"
    assert db.write(lambda c: users.set_disabled(c, maria.id, disabled=True, now=NOW)).disabled
    assert not db.write(lambda c: users.set_disabled(c, maria.id, disabled=False, now=NOW)).disabled
    with pytest.raises(Problem) as caught:
        db.write(lambda c: users.set_role(c, "u_0000000000000000", "viewer"))
    assert code(caught) == (404, "user_not_found")


def test_the_last_admin_is_neither_demoted_nor_disabled(db: AuthDb) -> None:
    first, second = make(db, "first", "admin"), make(db, "second", "admin")
    db.write(lambda c: users.set_disabled(c, second.id, disabled=True, now=NOW))  # a disabled one does not count
    for change in (
        lambda c: users.set_role(c, first.id, "editor"),
        lambda c: users.set_disabled(c, first.id, disabled=True, now=NOW),
    ):
        with pytest.raises(Problem) as caught:
            db.write(change)
        assert code(caught) == (409, "last_admin")
    db.write(lambda c: users.set_role(c, second.id, "viewer"))
    db.write(lambda c: users.set_role(c, first.id, "admin"))
    assert db.read(users.count_admins) == 1


def test_two_admins_who_disable_each_other_at_once_leave_one(db: AuthDb) -> None:
    pair = [make(db, "first", "admin"), make(db, "second", "admin")]
    barrier, refused = threading.Barrier(2), []

    def disable(user: users.User) -> None:
        barrier.wait()
        try:
            db.write(lambda c: users.set_disabled(c, user.id, disabled=True, now=NOW))
        except Problem as problem:
            refused.append(problem.code)

    threads = [threading.Thread(target=disable, args=(user,)) for user in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == ["last_admin"]
    assert db.read(users.count_admins) == 1
