"""Signing in with another service, over sockets: the running ingest, a real OpenID provider, and browsers.

What a hostile one could say is `test_oidc_provider`'s.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pyotp
import pytest

from tests.broker import BinaryBroker, free_port
from tests.integration.ingest.browser import Browser, account, in_auth_db
from tests.integration.ingest.service import Ingest, running_ingest
from tests.oidc_provider import running_provider

Open = Callable[[], Browser]
_addresses = itertools.count(2)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_provider(tmp_path_factory.mktemp("provider")) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def ingest(own_broker: BinaryBroker, provider: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    directory = tmp_path_factory.mktemp("oidc")
    secret = directory / "client-secret"
    secret.write_text("a secret\n")
    port = free_port()
    with running_ingest(
        directory / "data",
        own_broker.url,
        port=port,
        PUBLIC_BASE_URL=f"http://127.0.0.1:{port}",
        OIDC_ISSUER=provider,
        OIDC_CLIENT_ID="dubline",
        OIDC_CLIENT_SECRET_FILE=str(secret),
        OIDC_CREATE_USERS="1",
        OIDC_DEFAULT_ROLE="operator",
    ) as running:
        yield running


@pytest.fixture
def opened(ingest: Ingest) -> Iterator[Open]:
    with contextlib.ExitStack() as browsers:
        yield lambda: browsers.enter_context(Browser(ingest.url, f"127.0.1.{next(_addresses)}"))


def sent_to_provider(browser: Browser, next_path: str = "/ui/jobs") -> str:
    """Return where the browser is sent."""
    answer = browser.get("/api/auth/oidc/login", next=next_path)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def signed_in_there(address: str, subject: str) -> dict[str, str]:
    """Sign in at the provider, and return what it sends the browser back with."""
    answer = httpx.post(address, data={"sub": subject}, timeout=30, trust_env=False)
    assert answer.status_code == 302, answer.text
    back = urlsplit(answer.headers["location"])
    assert back.path == "/api/auth/oidc/callback"
    return {name: values[0] for name, values in parse_qs(back.query).items()}


def come_back(browser: Browser, shown: dict[str, str]) -> str:
    """Return where the browser is sent on to."""
    answer = browser.get("/api/auth/oidc/callback", **shown)
    assert answer.status_code == 303, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.headers["location"]


def sign_in(browser: Browser, subject: str) -> str:
    return come_back(browser, signed_in_there(sent_to_provider(browser), subject))


def test_a_person_comes_in_and_is_the_same_user_the_next_time(opened: Open) -> None:
    first, second = opened(), opened()
    assert sign_in(first, "s-maria") == "/ui/jobs"
    me = first.get("/api/auth/me").json()
    assert (me["username"], me["role"], me["has_password"]) == ("maria", "operator", False)
    sign_in(second, "s-maria")
    assert second.get("/api/auth/me").json()["id"] == me["id"]


def test_the_sign_in_page_is_told_that_there_is_a_provider(opened: Open) -> None:
    assert opened().get("/api/auth/state").json()["oidc"] is True


def test_the_cookie_that_binds_the_browser_is_out_of_reach(opened: Open) -> None:
    lines = opened().get("/api/auth/oidc/login").headers["set-cookie"]
    assert lines.startswith("__Host-dubline-oidc=")
    assert all(word in lines for word in ("HttpOnly", "Secure", "SameSite=lax", "Path=/", "Max-Age=600"))


def test_nobody_takes_an_account_over_by_its_name_or_address(opened: Open, ingest: Ingest) -> None:
    admin = account(ingest.layout, "admin", role="admin")
    browser = opened()
    sign_in(browser, "s-admin")
    me = browser.get("/api/auth/me").json()
    assert me["id"] != admin
    assert (me["role"], me["username"].startswith("admin-")) == ("operator", True)


def test_a_state_of_somebody_elses_sign_in_is_refused(opened: Open) -> None:
    """Login CSRF: an attacker's own code in a victim's browser would sign the victim in as the attacker."""
    attacker, victim = opened(), opened()
    shown = signed_in_there(sent_to_provider(attacker), "s-joao")
    sent_to_provider(victim)
    assert come_back(victim, shown) == "/ui/login?problem=oidc_state_invalid"
    assert come_back(opened(), shown) == "/ui/login?problem=oidc_state_invalid"
    assert victim.me() is None
    assert come_back(attacker, shown) == "/ui/jobs"  # nobody spoiled it for the one that began


@pytest.mark.parametrize("changed", [{"state": "invented"}, {"state": ""}])
def test_an_invented_state_is_refused(opened: Open, changed: dict[str, str]) -> None:
    browser = opened()
    shown = signed_in_there(sent_to_provider(browser), "s-maria")
    assert come_back(browser, shown | changed) == "/ui/login?problem=oidc_state_invalid"
    assert browser.me() is None


def test_an_answer_counts_once(opened: Open) -> None:
    browser = opened()
    shown = signed_in_there(sent_to_provider(browser), "s-maria")
    cookies = dict(browser.cookies)
    assert come_back(browser, shown) == "/ui/jobs"
    browser.cookies = cookies
    assert come_back(browser, shown) == "/ui/login?problem=oidc_state_invalid"


def test_a_code_of_another_sign_in_is_refused(opened: Open) -> None:
    """A code that was stolen from a victim's address bar: its ID token has the victim's nonce."""
    victim, thief = opened(), opened()
    stolen = signed_in_there(sent_to_provider(victim), "s-maria")["code"]
    own = signed_in_there(sent_to_provider(thief), "s-joao")
    assert come_back(thief, own | {"code": stolen}) == "/ui/login?problem=oidc_refused"
    assert thief.me() is None


def test_an_invented_code_and_a_refusal_of_the_provider_let_nobody_in(opened: Open) -> None:
    browser = opened()
    shown = signed_in_there(sent_to_provider(browser), "s-maria")
    assert come_back(browser, shown | {"code": "invented"}) == "/ui/login?problem=oidc_refused"
    state = parse_qs(urlsplit(sent_to_provider(browser)).query)["state"][0]
    assert come_back(browser, {"state": state, "error": "access_denied"}) == "/ui/login?problem=oidc_refused"
    assert browser.me() is None


def test_an_answer_in_another_issuers_name_lets_nobody_in(opened: Open) -> None:
    """Mix-up, RFC 9207."""
    browser = opened()
    shown = signed_in_there(sent_to_provider(browser), "s-maria")
    assert come_back(browser, shown | {"iss": "https://evil.example"}) == "/ui/login?problem=oidc_refused"
    assert browser.me() is None


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:1"])
def test_nobody_is_sent_to_another_site_afterwards(opened: Open, wanted: str) -> None:
    browser = opened()
    shown = signed_in_there(sent_to_provider(browser, wanted), "s-maria")
    assert come_back(browser, shown) == "/ui/"


def test_a_second_factor_is_asked_for_after_the_provider_too(opened: Open) -> None:
    """ASVS 5.0 6.3.4: no way in is weaker than another."""
    browser = opened()
    sign_in(browser, "s-joao")
    browser.me()
    factor = browser.post("/api/auth/totp/setup").json()
    code = pyotp.TOTP(factor["secret"]).at(int(time.time()), counter_offset=-1)
    assert browser.post("/api/auth/totp/verify", {"code": code}).status_code == 200

    other = opened()
    assert sign_in(other, "s-joao") == "/ui/login?second_factor=oidc&next=%2Fui%2Fjobs"
    assert other.me() is None
    show = "/api/auth/oidc/second_factor"
    assert other.post(show).json()["code"] == "totp_required"
    assert other.post(show, {"totp": code}).json()["code"] == "totp_invalid"
    assert opened().post(show, {"totp": code}).json()["code"] == "oidc_state_invalid"
    let_in = other.post(show, {"totp": pyotp.TOTP(factor["secret"]).now()})
    assert let_in.status_code == 200
    assert int(let_in.headers["content-length"]) == len(let_in.content) > 0
    assert other.me() == "joao"
    again = other.post(show, {"recovery_code": factor["recovery_codes"][0]})
    assert (again.status_code, again.json()["code"]) == (409, "oidc_state_invalid")


def test_a_disabled_user_is_refused(opened: Open, ingest: Ingest) -> None:
    browser = opened()
    sign_in(browser, "s-maria")
    in_auth_db(ingest.layout, "UPDATE users SET disabled_at = 1 WHERE username = 'maria'")
    other = opened()
    assert sign_in(other, "s-maria") == "/ui/login?problem=oidc_refused"
    in_auth_db(ingest.layout, "UPDATE users SET disabled_at = NULL WHERE username = 'maria'")
    assert other.me() is None


def test_sign_ins_from_one_address_are_limited(opened: Open) -> None:
    browser = opened()
    answers = [browser.get("/api/auth/oidc/callback") for _ in range(21)]
    assert [answer.status_code for answer in answers] == [303] * 20 + [429]


def test_no_code_and_no_token_is_in_the_log(opened: Open, ingest: Ingest) -> None:
    browser = opened()
    shown = signed_in_there(sent_to_provider(browser), "s-maria")
    come_back(browser, shown)
    come_back(browser, shown)
    written = Path(f"{ingest.layout.data}.log").read_text()
    assert "oidc_state_invalid" in written
    assert not [each for each in (*shown.values(), *browser.cookies.values(), "a secret") if each in written]
