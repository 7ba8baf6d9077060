"""The second factor: RFC 6238, no code twice, a new one only in place of the old one when it is proved.

Traps of the predecessor: R5.3 (TOTP for admins alone, codes good again and again, a set-up that overwrote the factor
that held), R5.8 (recovery codes of ten characters).
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ingest.accounts import recovery, second_factor, sessions, totp
from services.ingest.accounts.client import Client
from services.ingest.accounts.db import AuthDb
from services.ingest.accounts.sealer import Sealer
from shared.access.principal import ROLES, Role
from shared.problems import Problem
from tests.unit.ingest.accounts.people import NOW, at_once, code_at, enrolled, opened, person, sealer

RFC_6238_SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[AuthDb]:
    with opened(tmp_path) as found:
        yield found


def shows(db: AuthDb, user: str, now: float, *, code: str | None = None, recovery_code: str | None = None) -> str:
    """Return "accepted", or the code of the refusal."""
    try:
        db.write(lambda c: second_factor.verify(c, sealer(), user, code, recovery_code, now))
    except Problem as problem:
        return problem.code
    return "accepted"


@pytest.mark.parametrize(("at", "code"), [(59, "287082"), (1111111109, "081804"), (2000000000, "279037")])
def test_codes_are_those_of_rfc_6238_appendix_b(at: float, code: str) -> None:
    assert totp.matching_step(RFC_6238_SECRET, code, at) == at // 30


@pytest.mark.parametrize("steps", [-2, -1, 0, 1, 2])
def test_a_clock_may_be_one_step_off_and_no_more(steps: int) -> None:
    code = code_at(RFC_6238_SECRET, NOW + 30 * steps)
    found = totp.matching_step(RFC_6238_SECRET, code, NOW)
    assert found == (NOW // 30 + steps if abs(steps) <= 1 else None)


WIDE_DIGITS = "287082".translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)})


@pytest.mark.parametrize("code", ["", "28708", "2870820", "28708x", WIDE_DIGITS, "287082\n", "-87082", "287082" * 1000])
def test_what_is_no_code_is_refused(code: str) -> None:
    assert totp.matching_step(RFC_6238_SECRET, code, 59) is None


def test_a_code_may_be_typed_in_two_groups() -> None:
    assert totp.matching_step(RFC_6238_SECRET, "287 082", 59) == 1


@pytest.mark.parametrize("role", ROLES)
def test_every_role_can_have_a_factor_and_must_then_show_it(db: AuthDb, role: Role) -> None:
    """R5.3: the predecessor knew TOTP for admins alone."""
    user = person(db, role=role)
    assert shows(db, user, NOW) == "accepted"  # no factor yet: nothing is asked
    factor = enrolled(db, user)
    assert db.read(lambda c: second_factor.required(c, user))
    assert shows(db, user, NOW) == "totp_required"
    assert shows(db, user, NOW, code=code_at(factor.secret, NOW)) == "accepted"


def test_a_code_is_good_once(db: AuthDb) -> None:
    """R5.3: the predecessor's codes were good again and again for 90 seconds."""
    user = person(db)
    factor = enrolled(db, user)
    code = code_at(factor.secret, NOW)
    assert shows(db, user, NOW, code=code) == "accepted"
    assert shows(db, user, NOW, code=code) == "totp_invalid"
    assert shows(db, user, NOW + 30, code=code) == "totp_invalid"


def test_after_a_code_no_earlier_one_is_good(db: AuthDb) -> None:
    user = person(db)
    factor = enrolled(db, user)
    assert shows(db, user, NOW, code=code_at(factor.secret, NOW + 30)) == "accepted"
    assert shows(db, user, NOW, code=code_at(factor.secret, NOW)) == "totp_invalid"
    assert shows(db, user, NOW, code=code_at(factor.secret, NOW - 30)) == "totp_invalid"


def test_the_code_that_confirmed_the_factor_does_not_sign_in(db: AuthDb) -> None:
    user = person(db)
    factor = enrolled(db, user, now=NOW)
    assert shows(db, user, NOW, code=code_at(factor.secret, NOW)) == "totp_invalid"


def test_a_clock_that_is_set_back_makes_no_used_code_good(db: AuthDb) -> None:
    user = person(db)
    factor = enrolled(db, user, now=NOW)
    assert shows(db, user, NOW - 3600, code=code_at(factor.secret, NOW - 3600)) == "totp_invalid"


def test_of_fifty_threads_with_one_code_one_comes_in(db: AuthDb) -> None:
    user = person(db)
    code = code_at(enrolled(db, user).secret, NOW)
    assert Counter(at_once(lambda _: shows(db, user, NOW, code=code))) == {"accepted": 1, "totp_invalid": 49}


def test_of_fifty_threads_with_one_recovery_code_one_comes_in(db: AuthDb) -> None:
    user = person(db)
    code = enrolled(db, user).recovery_codes[3]
    found = Counter(at_once(lambda _: shows(db, user, NOW, recovery_code=code)))
    assert found == {"accepted": 1, "totp_invalid": 49}


def test_a_factor_that_holds_goes_on_holding_until_the_new_one_is_proved(db: AuthDb) -> None:
    """R5.3: the predecessor's set-up overwrote it, so whoever held a session locked its owner out."""
    user = person(db)
    old = enrolled(db, user)
    new = db.write(lambda c: totp.begin(c, sealer(), user, "maria", NOW))
    assert shows(db, user, NOW, code=code_at(new.secret, NOW)) == "totp_invalid"
    assert shows(db, user, NOW, code=code_at(old.secret, NOW)) == "accepted"
    assert shows(db, user, NOW, recovery_code=new.recovery_codes[0]) == "totp_invalid"
    assert shows(db, user, NOW, recovery_code=old.recovery_codes[0]) == "accepted"

    later = NOW + 60
    assert db.write(lambda c: totp.confirm(c, sealer(), user, code_at(new.secret, later), "ses_1", later)) is True
    much_later = NOW + 120
    assert shows(db, user, much_later, code=code_at(old.secret, much_later)) == "totp_invalid"
    assert shows(db, user, much_later, recovery_code=old.recovery_codes[1]) == "totp_invalid"
    assert shows(db, user, much_later, code=code_at(new.secret, much_later)) == "accepted"
    assert shows(db, user, much_later, recovery_code=new.recovery_codes[1]) == "accepted"


def test_a_wrong_code_confirms_nothing_and_the_enrolment_goes_on_waiting(db: AuthDb) -> None:
    user = person(db)
    begun = db.write(lambda c: totp.begin(c, sealer(), user, "maria", NOW))
    wrong = code_at(begun.secret, NOW + 900)
    assert db.write(lambda c: totp.confirm(c, sealer(), user, wrong, "ses_1", NOW)) is False
    assert not db.read(lambda c: second_factor.required(c, user))
    assert db.read(lambda c: totp.state(c, user, NOW)).pending
    right = code_at(begun.secret, NOW)
    assert db.write(lambda c: totp.confirm(c, sealer(), user, right, "ses_1", NOW)) is True


def test_an_enrolment_is_forgotten_after_a_quarter_of_an_hour(db: AuthDb) -> None:
    user = person(db)
    begun = db.write(lambda c: totp.begin(c, sealer(), user, "maria", NOW))
    late = NOW + totp.PENDING_S
    assert db.write(lambda c: totp.confirm(c, sealer(), user, code_at(begun.secret, late), "ses_1", late)) is None
    assert not db.read(lambda c: totp.state(c, user, late)).pending


def test_switching_off_takes_the_recovery_codes_along(db: AuthDb) -> None:
    user = person(db)
    factor = enrolled(db, user)
    db.write(lambda c: totp.remove(c, user))
    assert not db.read(lambda c: second_factor.required(c, user))
    assert db.write(lambda c: recovery.use(c, user, factor.recovery_codes[0], NOW)) is False


def test_the_state_tells_how_many_recovery_codes_are_left(db: AuthDb) -> None:
    user = person(db)
    assert not db.read(lambda c: totp.state(c, user, NOW)).enabled
    factor = enrolled(db, user)
    assert shows(db, user, NOW, recovery_code=factor.recovery_codes[0]) == "accepted"
    state = db.read(lambda c: totp.state(c, user, NOW))
    assert (state.enabled, state.recovery_codes_left) == (True, 9)


def test_ten_recovery_codes_have_at_least_112_bits_each_and_are_kept_as_digests(db: AuthDb) -> None:
    """R5.8: the predecessor's had ten characters."""
    user = person(db)
    codes = enrolled(db, user).recovery_codes
    assert len(set(codes)) == 10
    assert all(len(recovery.ALPHABET) ** len(code.replace("-", "")) >= 2**112 for code in codes)
    stored = db.read(lambda c: [row["code_hash"] for row in c.execute("SELECT code_hash FROM recovery_codes")])
    assert all(len(each) == 64 and not any(code in each for code in codes) for each in stored)


def test_a_recovery_code_may_be_typed_carelessly(db: AuthDb) -> None:
    user = person(db)
    code = enrolled(db, user).recovery_codes[0]
    careless = code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert shows(db, user, NOW, recovery_code=careless) == "accepted"
    assert shows(db, user, NOW, recovery_code=code) == "totp_invalid"  # it is used, in whatever form


def test_a_recovery_code_of_another_person_is_none(db: AuthDb) -> None:
    maria, joao = person(db), person(db, "joao")
    enrolled(db, joao)
    code = enrolled(db, maria).recovery_codes[0]
    assert shows(db, joao, NOW, recovery_code=code) == "totp_invalid"
    assert shows(db, maria, NOW, recovery_code=code) == "accepted"


def test_the_database_alone_does_not_tell_the_secret(db: AuthDb, tmp_path: Path) -> None:
    user = person(db)
    begun = db.write(lambda c: totp.begin(c, sealer(), user, "maria", NOW))
    row = db.read(lambda c: tuple(c.execute("SELECT * FROM totp").fetchone()))
    assert all(begun.secret not in str(value) for value in row)


def test_under_another_key_the_factor_is_refused_aloud_and_a_recovery_code_still_works(db: AuthDb) -> None:
    user = person(db)
    factor = enrolled(db, user)
    other = Sealer(bytes(32), "totp")
    with pytest.raises(Problem) as refused:
        db.write(lambda c: second_factor.verify(c, other, user, code_at(factor.secret, NOW), None, NOW))
    assert (refused.value.status, refused.value.code) == (503, "second_factor_unavailable")
    db.write(lambda c: second_factor.verify(c, other, user, None, factor.recovery_codes[0], NOW))


def test_a_sealed_secret_moved_to_another_person_is_none_of_theirs(db: AuthDb) -> None:
    thief, victim = person(db, "thief"), person(db)
    own = enrolled(db, thief)
    enrolled(db, victim)
    db.write(
        lambda c: c.execute(
            "UPDATE totp SET secret = (SELECT secret FROM totp WHERE user_id = ?) WHERE user_id = ?", (thief, victim)
        )
    )
    assert shows(db, victim, NOW, code=code_at(own.secret, NOW)) == "second_factor_unavailable"


def test_what_was_open_before_the_factor_held_has_not_passed_it(db: AuthDb) -> None:
    user = person(db)
    before = db.write(lambda c: sessions.open_session(c, user, "password", Client(), NOW)).session_id
    assert db.read(lambda c: totp.passed_by(c, user, before))  # there is no factor yet
    enrolled(db, user, now=NOW + 10, credential="ses_that_confirmed")
    after = db.write(lambda c: sessions.open_session(c, user, "password", Client(), NOW + 20)).session_id
    passed = {each: db.read(lambda c, each=each: totp.passed_by(c, user, each)) for each in (before, after)}
    assert passed == {before: False, after: True}
    assert db.read(lambda c: totp.passed_by(c, user, "ses_that_confirmed"))
    assert not db.read(lambda c: totp.passed_by(c, user, "ses_unknown"))


def test_the_address_for_the_authenticator_names_dubline_and_the_person(db: AuthDb) -> None:
    user = person(db)
    begun = db.write(lambda c: totp.begin(c, sealer(), user, "maria", NOW))
    assert begun.uri == f"otpauth://totp/Dubline:maria?secret={begun.secret}&issuer=Dubline"
