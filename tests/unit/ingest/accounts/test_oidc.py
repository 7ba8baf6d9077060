"""Which browser began an OpenID sign-in, where it goes on, and whose account it opens."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.ingest.accounts import oidc, users
from services.ingest.accounts.db import AuthDb
from services.ingest.accounts.id_token import Identity, IdentityRefusedError
from services.ingest.accounts.oidc_provider import is_safe_address
from services.ingest.settings import IngestSettings
from shared.access.principal import Role
from shared.problems import Problem
from tests.unit.ingest.accounts.people import NOW, at_once, opened, person

ISSUER = "https://id.example.org"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[AuthDb]:
    with opened(tmp_path) as found:
        yield found


def whose(db: AuthDb, identity: Identity, create_as: Role | None = "viewer") -> users.User:
    return db.write(lambda c: oidc.user_of(c, ISSUER, identity, create_as=create_as, now=NOW))[0]


def test_a_sign_in_is_resumed_once_by_the_browser_that_began_it(db: AuthDb) -> None:
    begun = db.write(lambda c: oidc.begin(c, "/ui/jobs", NOW))
    found = db.write(lambda c: oidc.resume(c, begun.state, begun.browser, NOW))
    assert found == oidc.Resumed(begun.nonce, begun.verifier, "/ui/jobs")
    assert db.write(lambda c: oidc.resume(c, begun.state, begun.browser, NOW)) is None


def test_another_browser_cannot_resume_it_and_does_not_spoil_it(db: AuthDb) -> None:
    victim = db.write(lambda c: oidc.begin(c, "/ui/", NOW))
    attacker = db.write(lambda c: oidc.begin(c, "/ui/", NOW))
    assert db.write(lambda c: oidc.resume(c, victim.state, attacker.browser, NOW)) is None
    assert db.write(lambda c: oidc.resume(c, attacker.state, victim.browser, NOW)) is None
    assert db.write(lambda c: oidc.resume(c, victim.state, victim.browser, NOW)) is not None


def test_a_sign_in_expires_after_ten_minutes(db: AuthDb) -> None:
    begun = db.write(lambda c: oidc.begin(c, "/ui/", NOW))
    assert db.write(lambda c: oidc.resume(c, begun.state, begun.browser, NOW + 600)) is None


def test_of_fifty_returns_at_one_time_one_goes_on(db: AuthDb) -> None:
    begun = db.write(lambda c: oidc.begin(c, "/ui/", NOW))
    found = at_once(lambda _: db.write(lambda c: oidc.resume(c, begun.state, begun.browser, NOW)) is not None)
    assert Counter(found) == {True: 1, False: 49}


def test_a_wait_for_the_second_factor_is_no_state_and_ends_once(db: AuthDb) -> None:
    maria = person(db)
    browser = db.write(lambda c: oidc.wait_for_factor(c, maria, NOW))
    assert db.read(lambda c: oidc.waiting_user(c, browser, NOW)) == maria
    assert db.read(lambda c: oidc.waiting_user(c, "another", NOW)) is None
    assert db.read(lambda c: oidc.waiting_user(c, browser, NOW + 600)) is None
    found = at_once(lambda _: db.write(lambda c: oidc.finish(c, browser)))
    assert Counter(found) == {True: 1, False: 49}


def test_a_sign_in_that_began_does_not_name_a_user(db: AuthDb) -> None:
    begun = db.write(lambda c: oidc.begin(c, "/ui/", NOW))
    assert db.read(lambda c: oidc.waiting_user(c, begun.browser, NOW)) is None
    assert db.write(lambda c: oidc.finish(c, begun.browser)) is False


def test_only_so_many_may_be_under_way(db: AuthDb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "MAX_WAITING", 2)
    for _ in range(2):
        db.write(lambda c: oidc.begin(c, "/ui/", NOW))
    with pytest.raises(Problem, match="under way"):
        db.write(lambda c: oidc.begin(c, "/ui/", NOW))
    db.write(lambda c: oidc.begin(c, "/ui/", NOW + 600))


def test_a_person_is_found_by_issuer_and_subject(db: AuthDb) -> None:
    first = whose(db, Identity("s-1", "maria", "maria@example.org"))
    again = whose(db, Identity("s-1", "renamed", "elsewhere@example.org"))
    other = whose(db, Identity("s-2", "maria", "maria@example.org"))
    assert first.id == again.id != other.id
    same_subject_elsewhere = db.write(
        lambda c: oidc.user_of(c, "https://other.example", Identity("s-1"), create_as="viewer", now=NOW)
    )[0]
    assert same_subject_elsewhere.id != first.id


def test_nobody_is_linked_to_an_account_by_name_or_address(db: AuthDb) -> None:
    """Whoever can choose a name at the provider would otherwise choose the admin's."""
    admin = person(db, "admin", role="admin")
    found = whose(db, Identity("s-1", "admin", "admin@example.org"))
    assert found.id != admin
    assert found.role == "viewer"
    assert found.username.startswith("admin-")


def test_a_stranger_is_refused_where_users_are_not_created(db: AuthDb) -> None:
    with pytest.raises(IdentityRefusedError, match="Nobody here"):
        whose(db, Identity("s-1", "maria"), create_as=None)
    assert db.read(users.everyone) == []


def test_a_disabled_user_is_refused(db: AuthDb) -> None:
    user = whose(db, Identity("s-1", "maria"))
    db.write(lambda c: users.set_disabled(c, user.id, disabled=True, now=NOW))
    with pytest.raises(IdentityRefusedError, match="disabled"):
        whose(db, Identity("s-1", "maria"))


def test_fifty_first_sign_ins_of_one_person_make_one_user(db: AuthDb) -> None:
    found = at_once(lambda _: whose(db, Identity("s-1", "maria")).id)
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("suggested", "email", "name"),
    [
        ("maria", "", "maria"),
        ("Maria da Silva", "", "Maria-da-Silva"),
        ("", "joao@example.org", "joao"),
        ("日本", "", "user"),
        ("", "", "user"),
        ("x" * 500, "", "x" * 58),
        ("../../etc", "", "etc"),
    ],
)
def test_a_new_users_name_is_made_of_the_providers(db: AuthDb, suggested: str, email: str, name: str) -> None:
    assert whose(db, Identity("s-1", suggested, email)).username == name
    assert whose(db, Identity("s-2", suggested, email)).username.startswith(f"{name[:58]}-")


def test_only_proved_addresses_of_allowed_domains_may_come_in() -> None:
    allowed = frozenset({"example.org"})
    oidc.check_domain(Identity("s", "", "maria@EXAMPLE.org"), allowed)
    oidc.check_domain(Identity("s"), frozenset())
    for address in ("", "maria@example.org.evil.net", "maria@notexample.org", "example.org@evil.net"):
        with pytest.raises(IdentityRefusedError, match="domain"):
            oidc.check_domain(Identity("s", "", address), allowed)


@pytest.mark.parametrize("wanted", ["/ui/", "/ui/jobs/1?tab=log#end", "/"])
def test_a_local_path_is_gone_on_to(wanted: str) -> None:
    assert oidc.local_path(wanted) == wanted


@pytest.mark.parametrize(
    "wanted",
    [
        *("", "ui", "https://evil.net/", "//evil.net", "/\\evil.net", "\\\\evil.net", "/\t/evil.net", "\t//evil.net"),
        *("/\n/evil.net", "javascript:alert(1)", "/ui\r\nSet-Cookie: x=1", "/ä", "/" + "x" * 500, "/ui\\..\\x", " //e"),
    ],
)
def test_anything_else_leads_to_the_start_page(wanted: str) -> None:
    assert oidc.local_path(wanted) == "/ui/"


@pytest.mark.parametrize(
    ("address", "safe"),
    [
        ("https://id.example.org/token", True),
        ("http://127.0.0.1:9/token", True),
        ("http://id.example.org/token", False),
        ("file:///etc/passwd", False),
        ("https://", False),
        ("http://localhost.evil.org/", False),
        ("https://[broken", False),
    ],
)
def test_a_providers_address_is_https_or_on_this_machine(address: str, safe: bool) -> None:
    assert is_safe_address(address) is safe


def test_oidc_is_off_by_default() -> None:
    settings = IngestSettings()
    assert settings.oidc_issuer == ""
    assert (settings.oidc_default_role, settings.oidc_create_users) == ("viewer", False)


@pytest.mark.parametrize(
    "half",
    [
        {"OIDC_ISSUER": ISSUER},
        {"OIDC_ISSUER": ISSUER, "OIDC_CLIENT_ID": "dubline"},
        {"OIDC_ISSUER": "http://id.example.org", "OIDC_CLIENT_ID": "dubline", "PUBLIC_BASE_URL": "https://d.example"},
        {"OIDC_ISSUER": f"{ISSUER}?x", "OIDC_CLIENT_ID": "dubline", "PUBLIC_BASE_URL": "https://d.example"},
        {"OIDC_DEFAULT_ROLE": "admin"},
    ],
)
def test_half_a_configuration_stops_the_service_at_its_start(half: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        IngestSettings.model_validate(half)


def test_a_whole_configuration_is_taken() -> None:
    settings = IngestSettings.model_validate(
        {
            "OIDC_ISSUER": ISSUER,
            "OIDC_CLIENT_ID": "dubline",
            "PUBLIC_BASE_URL": "https://d.example",
            "OIDC_ALLOWED_DOMAINS": " Example.org, @b.example,",
        }
    )
    assert settings.oidc_domains == {"example.org", "b.example"}
