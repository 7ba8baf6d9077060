"""Signing in a new device with one that is signed in: RFC 8628's direction, states and errors.

Traps of the predecessor: R5.3 (the signed-in device showed the code, whoever saw it came in, past TOTP).
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ingest.accounts import device_login, sessions, tokens, users
from services.ingest.accounts.client import Client
from services.ingest.accounts.db import AuthDb
from services.ingest.accounts.device_login import Begun, Polled, Verdict
from shared.problems import Problem
from tests.unit.ingest.accounts.people import NOW, at_once, opened, person

TV = Client("203.0.113.7", "A television")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[AuthDb]:
    with opened(tmp_path) as found:
        yield found


def begun(db: AuthDb, now: float = NOW) -> Begun:
    return db.write(lambda c: device_login.begin(c, TV, now))


def session_of(db: AuthDb, user: str) -> str:
    return db.write(lambda c: sessions.open_session(c, user, "password", Client(), NOW)).session_id


def approve(db: AuthDb, login: Begun, user: str, by: str, number: str | None = None, now: float = NOW) -> Verdict:
    shown = login.number if number is None else number
    return db.write(lambda c: device_login.approve(c, login.user_code, shown, user, by, now))


def poll(db: AuthDb, login: Begun, now: float = NOW, browser: str | None = None) -> Polled:
    cookie = login.browser if browser is None else browser
    return db.write(lambda c: device_login.redeem(c, login.device_code, cookie, now))


def test_the_new_device_comes_in_once_after_the_signed_in_one_agreed(db: AuthDb) -> None:
    maria = person(db)
    login = begun(db)
    assert poll(db, login).error == "authorization_pending"
    assert approve(db, login, maria, session_of(db, maria)) is Verdict.DONE
    assert poll(db, login).user_id == maria
    assert poll(db, login).error == "invalid_grant"


def test_codes_have_the_strength_that_the_specification_asks_for(db: AuthDb) -> None:
    logins = [begun(db) for _ in range(20)]
    assert len({login.user_code for login in logins}) == 20
    for login in logins:
        assert len(login.user_code) == 8
        assert set(login.user_code) <= set("BCDFGHJKLMNPQRSTVWXZ")
        assert len(login.device_code) >= 43  # 256 bits in base62
        assert 10 <= int(login.number) <= 99


def test_secrets_are_kept_as_digests(db: AuthDb) -> None:
    login = begun(db)
    row = db.read(lambda c: [str(value) for value in c.execute("SELECT * FROM device_logins").fetchone()])
    assert login.device_code not in row
    assert login.browser not in row


def test_the_person_who_is_to_agree_sees_what_asks_and_not_the_number(db: AuthDb) -> None:
    login = begun(db)
    shown = db.read(lambda c: device_login.waiting(c, login.user_code, NOW + 20))
    assert shown is not None
    assert (shown.address, shown.agent, shown.age_s, shown.expires_in_s) == ("203.0.113.7", "A television", 20, 280)
    assert login.number not in repr(shown).replace(login.user_code, "").split("'")


@pytest.mark.parametrize("typed", ["{0}-{1}", "{0}{1}", " {0} {1} ", "{0}.{1}"])
def test_a_code_may_be_typed_in_any_way(db: AuthDb, typed: str) -> None:
    login = begun(db)
    written = typed.format(login.user_code[:4].lower(), login.user_code[4:])
    assert db.read(lambda c: device_login.waiting(c, written, NOW)) is not None


def test_a_wrong_number_refuses_the_device_for_good(db: AuthDb) -> None:
    maria = person(db)
    login = begun(db)
    by = session_of(db, maria)
    wrong = str(10 + (int(login.number) - 9) % 90)
    assert approve(db, login, maria, by, number=wrong) is Verdict.WRONG_NUMBER
    assert approve(db, login, maria, by) is Verdict.ANSWERED
    assert poll(db, login).error == "access_denied"


def test_a_denied_device_stays_denied(db: AuthDb) -> None:
    maria = person(db)
    login = begun(db)
    assert db.write(lambda c: device_login.deny(c, login.user_code, NOW)) is Verdict.DONE
    assert approve(db, login, maria, session_of(db, maria)) is Verdict.ANSWERED
    assert poll(db, login).error == "access_denied"


def test_an_unknown_code_is_unknown(db: AuthDb) -> None:
    assert db.write(lambda c: device_login.deny(c, "BBBB-BBBB", NOW)) is Verdict.UNKNOWN
    assert db.read(lambda c: device_login.waiting(c, "BBBB-BBBB", NOW)) is None
    assert db.write(lambda c: device_login.redeem(c, "nothing", "no browser", NOW)).error == "invalid_grant"


def test_another_browser_with_the_device_code_gets_nothing_and_takes_nothing_away(db: AuthDb) -> None:
    maria = person(db)
    login = begun(db)
    approve(db, login, maria, session_of(db, maria))
    assert poll(db, login, browser="another").error == "invalid_grant"
    assert poll(db, login, browser="").error == "invalid_grant"
    assert poll(db, login).user_id == maria


def test_after_five_minutes_nothing_can_be_approved_or_redeemed(db: AuthDb) -> None:
    maria = person(db)
    by = session_of(db, maria)
    login, approved = begun(db), begun(db)
    approve(db, approved, maria, by, now=NOW + 299)
    late = NOW + 300
    assert approve(db, login, maria, by, now=late) is Verdict.UNKNOWN
    assert poll(db, login, now=late).error == "expired_token"
    assert poll(db, approved, now=late).error == "expired_token"
    assert db.read(lambda c: device_login.waiting(c, login.user_code, late)) is None


def test_whoever_polls_too_fast_must_wait_five_seconds_longer_each_time(db: AuthDb) -> None:
    """RFC 8628, 3.5: the interval is increased for this and all subsequent requests."""
    login = begun(db)
    asked = [(0.0, "authorization_pending", 5.0), (5.0, "authorization_pending", 5.0), (6.0, "slow_down", 10.0)]
    asked += [(11.5, "slow_down", 15.0), (26.5, "authorization_pending", 15.0), (36.5, "slow_down", 20.0)]
    for after, error, interval in asked:
        found = poll(db, login, now=NOW + after)
        assert (found.error, found.interval_s) == (error, interval), after


def test_an_approval_is_redeemed_also_by_one_who_polls_too_fast(db: AuthDb) -> None:
    maria = person(db)
    login = begun(db)
    poll(db, login)
    approve(db, login, maria, session_of(db, maria))
    assert poll(db, login, now=NOW + 0.1).user_id == maria


def test_of_fifty_answers_at_one_time_one_approves(db: AuthDb) -> None:
    people = [person(db, f"user-{number}") for number in range(50)]
    sessions_of = [session_of(db, each) for each in people]
    login = begun(db)
    found = at_once(lambda number: approve(db, login, people[number], sessions_of[number]))
    assert Counter(found) == {Verdict.DONE: 1, Verdict.ANSWERED: 49}
    assert poll(db, login).user_id == people[found.index(Verdict.DONE)]


def test_of_fifty_redemptions_at_one_time_one_comes_in(db: AuthDb) -> None:
    maria = person(db)
    login = begun(db)
    approve(db, login, maria, session_of(db, maria))
    found = at_once(lambda _: poll(db, login))
    assert [each.user_id for each in found].count(maria) == 1
    assert Counter(each.error for each in found) == {"": 1, "invalid_grant": 49}


def test_an_approval_ends_with_the_session_that_gave_it(db: AuthDb) -> None:
    """I11: what somebody did with a stolen session is over when its owner ends it."""
    maria = person(db)
    by = session_of(db, maria)
    login = begun(db)
    approve(db, login, maria, by)
    db.write(lambda c: sessions.end(c, by))
    assert poll(db, login).error == "access_denied"


def test_an_approval_ends_with_the_token_family_that_gave_it(db: AuthDb) -> None:
    maria = person(db)
    kept, ended = (db.write(lambda c: tokens.issue(c, maria, Client(), NOW)).family_id for _ in range(2))
    first, second = begun(db), begun(db)
    approve(db, first, maria, kept)
    approve(db, second, maria, ended)
    db.write(lambda c: tokens.revoke_family(c, ended, NOW))
    assert poll(db, first).user_id == maria
    assert poll(db, second).error == "access_denied"


def test_an_approval_ends_when_its_user_is_disabled_or_told_to_forget(db: AuthDb) -> None:
    maria, joao = person(db), person(db, "joao")
    first, second = begun(db), begun(db)
    approve(db, first, maria, session_of(db, maria))
    approve(db, second, joao, session_of(db, joao))
    db.write(lambda c: users.set_disabled(c, maria, disabled=True, now=NOW))
    db.write(lambda c: device_login.forget(c, joao))
    assert poll(db, first).error == "access_denied"
    assert poll(db, second).error == "invalid_grant"


def test_only_so_many_may_wait_and_old_ones_make_room(db: AuthDb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_login, "MAX_WAITING", 3)
    for _ in range(3):
        begun(db)
    with pytest.raises(Problem) as refused:
        begun(db)
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "300"})
    begun(db, now=NOW + 301)
    begun(db, now=NOW + 601)
    assert db.read(lambda c: c.execute("SELECT count(*) FROM device_logins").fetchone()[0]) == 2
