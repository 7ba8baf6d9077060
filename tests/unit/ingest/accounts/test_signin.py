"""The order of a sign-in's checks, counted: throttle first, then one hash whoever it is, then the second factor."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from services.ingest.accounts import sessions, totp, users
from services.ingest.accounts.accounts import Accounts, open_accounts
from services.ingest.accounts.client import Client
from services.ingest.accounts.passwords import Verdict
from services.ingest.accounts.sessions import Opened
from services.ingest.accounts.signin import Attempt, SignedIn, sign_in
from services.ingest.accounts.tokens import Issued
from services.ingest.bus import Bus
from services.ingest.settings import IngestSettings
from shared.problems import Problem
from tests.unit.ingest.accounts.people import NOW, code_at

PASSWORD = "correct horse battery staple"


@pytest.fixture
async def accounts(tmp_path: Path) -> AsyncIterator[Accounts]:
    settings = IngestSettings(data_dir=tmp_path / "data")
    made = open_accounts(settings, Bus(settings))
    for name in ("maria", "disabled"):
        hashed = made.passwords.hash_now(PASSWORD)
        made.db.write(lambda c, name=name, hashed=hashed: users.create(c, name, hashed, "viewer", NOW))  # type: ignore[misc]
    made.db.write(lambda c: users.set_disabled(c, of(c, "disabled").id, disabled=True, now=NOW))
    made.db.write(lambda c: users.create(c, "by-another-service", None, "viewer", NOW))
    yield made
    made.passwords.close()
    made.db.close()


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each hash that argon2 computes to compare a password."""
    computed: list[str] = []
    verify = PasswordHasher.verify

    def counting(self: PasswordHasher, kept: Any, password: Any) -> Any:
        computed.append("hash")
        return verify(self, kept, password)

    monkeypatch.setattr(PasswordHasher, "verify", counting)
    return computed


def of(connection: Any, name: str) -> users.User:
    found = users.by_name(connection, name)
    assert found is not None
    return found


async def tried(
    accounts: Accounts, name: str, password: str = PASSWORD, address: str = "192.0.2.1", now: float = NOW, **more: Any
) -> SignedIn | str:
    """Return who came in, or the code of the refusal."""
    try:
        return await sign_in(accounts, Attempt(name, password, **more), Client(address), now)
    except Problem as problem:
        return problem.code


@pytest.mark.parametrize("name", ["maria", "nobody", "disabled", "by-another-service", "not a name", ""])
async def test_a_wrong_password_costs_one_hash_whoever_it_is_for(
    accounts: Accounts, hashes: list[str], name: str
) -> None:
    assert await tried(accounts, name, "wrong") == "invalid_credentials"
    assert hashes == ["hash"]


async def test_a_disabled_user_and_one_without_a_password_are_refused_after_one_hash(
    accounts: Accounts, hashes: list[str]
) -> None:
    for name in ("disabled", "by-another-service"):
        assert await tried(accounts, name) == "invalid_credentials"
    assert hashes == ["hash"] * 2


async def test_a_sign_in_that_waits_costs_no_hash(accounts: Accounts, hashes: list[str]) -> None:
    for _ in range(5):
        assert await tried(accounts, "maria", "wrong") == "invalid_credentials"
    for name in ("maria", "MARIA"):
        assert await tried(accounts, name) == "too_many_requests"
    assert hashes == ["hash"] * 5
    assert isinstance(await tried(accounts, "maria", address="192.0.2.2"), SignedIn)


async def test_a_session_or_tokens_as_asked(accounts: Accounts) -> None:
    session, program = await tried(accounts, "Maria", session=True), await tried(accounts, "maria")
    assert isinstance(session, SignedIn)
    assert isinstance(session.credential, Opened)
    assert isinstance(program, SignedIn)
    assert isinstance(program.credential, Issued)


@pytest.mark.parametrize("change", ["disabled", "password"])
async def test_who_is_disabled_or_changes_the_password_while_the_hash_is_computed_stays_out(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    async def verify(_kept: str | None, _typed: str) -> Verdict:
        def meanwhile(connection: Any) -> None:
            maria = of(connection, "maria").id
            if change == "disabled":
                users.set_disabled(connection, maria, disabled=True, now=NOW)
            else:
                users.set_password_hash(connection, maria, "another")

        accounts.db.write(meanwhile)
        return Verdict(right=True)

    monkeypatch.setattr(accounts.passwords, "verify", verify)
    assert await tried(accounts, "maria", session=True) == "invalid_credentials"
    assert accounts.db.read(lambda c: sessions.of_user(c, of(c, "maria").id, NOW)) == []


@pytest.fixture
def secret(accounts: Accounts) -> str:
    """The secret of a second factor of Maria's that holds."""
    maria = accounts.db.read(lambda c: of(c, "maria").id)
    begun = accounts.db.write(lambda c: totp.begin(c, accounts.sealer, maria, "maria", NOW - 600))
    code = code_at(begun.secret, NOW - 600)
    assert accounts.db.write(lambda c: totp.confirm(c, accounts.sealer, maria, code, "ses_x", NOW - 600))
    return begun.secret


async def test_the_second_factor_is_asked_for_only_after_the_right_password(accounts: Accounts, secret: str) -> None:
    assert await tried(accounts, "maria", "wrong", totp=code_at(secret, NOW)) == "invalid_credentials"
    assert await tried(accounts, "maria") == "totp_required"
    assert await tried(accounts, "maria", totp="000000") == "totp_invalid"
    assert isinstance(await tried(accounts, "maria", totp=code_at(secret, NOW)), SignedIn)
    assert await tried(accounts, "maria", totp=code_at(secret, NOW)) == "totp_invalid"  # replayed


async def test_who_knows_the_password_guesses_five_codes_and_no_more(accounts: Accounts, secret: str) -> None:
    codes = [await tried(accounts, "maria", address=f"192.0.2.{n}", totp="000000") for n in range(5)]
    assert codes == ["totp_invalid"] * 5
    refused = await tried(accounts, "maria", address="192.0.2.9", totp=code_at(secret, NOW))
    assert refused == "too_many_requests"
