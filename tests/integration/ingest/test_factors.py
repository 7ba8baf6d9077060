"""The second factor and the sign-in of a new device, over a socket, against the running service.

Traps of the predecessor: V2 (answers that let somebody in had an empty body), R5.3 (QR redeem skipped TOTP and carried
its code in the address; TOTP for admins alone; a set-up that overwrote the factor that held).
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import httpx
import pyotp
import pytest

from shared.eventlog.jetstream import JetStreamEventLog
from shared.eventlog.port import Recorded
from shared.events.access import AuditRecorded
from tests.broker import BinaryBroker
from tests.integration.ingest.browser import Browser, account, in_auth_db
from tests.integration.ingest.service import Ingest, running_ingest

Open = Callable[..., Browser]
_addresses = count(2)
_names = count(1)


@pytest.fixture(scope="module")
def ingest(own_broker: BinaryBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    with running_ingest(tmp_path_factory.mktemp("factors") / "data", own_broker.url) as running:
        yield running


@pytest.fixture
def opened(ingest: Ingest) -> Iterator[Open]:
    """Open browsers, each at an address of its own."""
    browsers: list[Browser] = []

    def browser(agent: str = "A browser") -> Browser:
        browsers.append(Browser(ingest.url, f"127.0.0.{next(_addresses)}", agent))
        return browsers[-1]

    yield browser
    for each in browsers:
        with each:
            pass


@pytest.fixture
def name(ingest: Ingest) -> str:
    """An account without a second factor; a viewer's, the least of all."""
    made = f"user-{next(_names)}"
    account(ingest.layout, made)
    return made


def code(secret: str, steps: int = 0) -> str:
    return pyotp.TOTP(secret).at(int(time.time()), counter_offset=steps)


def enrol(browser: Browser) -> dict[str, str]:
    begun = browser.post("/api/auth/totp/setup")
    assert begun.status_code == 200, begun.text
    confirmed = browser.post("/api/auth/totp/verify", {"code": code(begun.json()["secret"], -1)})
    assert confirmed.status_code == 200, confirmed.text
    found: dict[str, str] = begun.json()
    return found


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


def begun_on(device: Browser) -> dict[str, str]:
    answer = device.post("/auth/qr/init")
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = answer.json()
    return found


def redeem(device: Browser, login: dict[str, str]) -> httpx.Response:
    answer = device.post("/auth/qr/redeem", {"device_code": login["device_code"]})
    device.csrf = answer.json().get("csrf_token", "")
    return answer


def approval(login: dict[str, str], number: str | None = None) -> dict[str, str]:
    return {"user_code": login["user_code"], "number": number or login["number"]}


def test_a_viewer_sets_up_a_factor_and_signs_in_with_it(opened: Open, name: str, ingest: Ingest) -> None:
    """R5.3: the predecessor's TOTP was for admins alone, and its codes were good again and again."""
    browser = opened()
    browser.sign_in(name)
    assert browser.get("/api/auth/totp").json()["enabled"] is False
    factor = enrol(browser)
    assert factor["uri"].startswith(f"otpauth://totp/Dubline:{name}?secret={factor['secret']}")
    assert factor["qr_svg"].startswith("<svg")
    assert len(factor["recovery_codes"]) == 10
    state = browser.get("/api/auth/totp").json()
    assert (state["enabled"], state["pending"], state["recovery_codes_left"]) == (True, False, 10)

    other = opened()
    assert problem(other.sign_in(name)) == (401, "totp_required")
    used = code(factor["secret"])
    assert other.sign_in(name, totp=used).status_code == 200
    assert problem(opened().sign_in(name, totp=used)) == (401, "totp_invalid")
    assert opened().sign_in(name, recovery_code=factor["recovery_codes"][0]).status_code == 200
    assert problem(opened().sign_in(name, recovery_code=factor["recovery_codes"][0])) == (401, "totp_invalid")


def test_the_set_up_is_no_cacheable_answer(opened: Open, name: str) -> None:
    browser = opened()
    browser.sign_in(name)
    assert browser.post("/api/auth/totp/setup").headers["cache-control"] == "no-store"


def test_a_new_set_up_does_not_touch_the_factor_that_holds(opened: Open, name: str, ingest: Ingest) -> None:
    """R5.3: the predecessor's overwrote it at once."""
    browser = opened()
    browser.sign_in(name)
    old = enrol(browser)
    new = browser.post("/api/auth/totp/setup").json()
    assert browser.get("/api/auth/totp").json()["pending"] is True
    assert problem(opened().sign_in(name, totp=code(new["secret"]))) == (401, "totp_invalid")
    assert opened().sign_in(name, totp=code(old["secret"])).status_code == 200


def test_a_factor_that_changes_ends_every_other_sign_in(opened: Open, name: str) -> None:
    """ASVS 5.0 7.4.3."""
    first, second = opened(), opened()
    first.sign_in(name)
    second.sign_in(name)
    enrol(second)
    assert first.me() is None
    assert second.me() == name


def test_giving_up_the_factor_needs_a_code_of_it(opened: Open, name: str, ingest: Ingest) -> None:
    browser = opened()
    browser.sign_in(name)
    assert problem(browser.post("/api/auth/totp/disable", {"code": "000000"})) == (409, "totp_not_enabled")
    factor = enrol(browser)
    assert problem(browser.post("/api/auth/totp/disable")) == (401, "totp_required")
    assert problem(browser.post("/api/auth/totp/disable", {"code": "000000"})) == (401, "totp_invalid")
    assert browser.get("/api/auth/totp").json()["enabled"] is True
    assert browser.post("/api/auth/totp/disable", {"code": code(factor["secret"])}).status_code == 200
    assert opened().sign_in(name).status_code == 200


def test_new_recovery_codes_replace_the_old_ones(opened: Open, name: str) -> None:
    browser = opened()
    browser.sign_in(name)
    assert problem(browser.post("/api/auth/totp/recovery_codes")) == (409, "totp_not_enabled")
    old = enrol(browser)["recovery_codes"]
    new = browser.post("/api/auth/totp/recovery_codes").json()["recovery_codes"]
    assert problem(opened().sign_in(name, recovery_code=old[0])) == (401, "totp_invalid")
    assert opened().sign_in(name, recovery_code=new[0]).status_code == 200


def test_nothing_waits_where_nothing_was_set_up(opened: Open, name: str) -> None:
    browser = opened()
    browser.sign_in(name)
    assert problem(browser.post("/api/auth/totp/verify", {"code": "123456"})) == (409, "totp_not_pending")


def test_six_digits_cannot_be_guessed(opened: Open, name: str) -> None:
    """5 tries, then a wait that says how long it is."""
    browser = opened()
    browser.sign_in(name)
    enrol(browser)
    wrong = [browser.post("/api/auth/totp/disable", {"code": "000000"}) for _ in range(6)]
    assert [answer.status_code for answer in wrong] == [401] * 5 + [429]
    assert int(wrong[-1].headers["retry-after"]) > 0


def test_a_new_device_is_let_in_by_one_that_is_signed_in(opened: Open, name: str) -> None:
    """V2, R5.3: the answer has its body, and no secret stands in an address."""
    phone, television = opened(), opened("A television")
    phone.sign_in(name)
    login = begun_on(television)
    assert login["verification_uri"].endswith("/ui/qr")
    assert login["verification_uri_complete"] == f"{login['verification_uri']}?user_code={login['user_code']}"
    assert login["device_code"] not in login["verification_uri_complete"]
    assert (login["expires_in"], login["interval"]) == (300, 5)
    pending = redeem(television, login)
    assert problem(pending) == (400, "authorization_pending")
    assert pending.json()["interval"] == 5

    shown = phone.get(f"/api/auth/qr/waiting/{login['user_code']}").json()
    assert (shown["device"], shown["user_code"]) == ("A television", login["user_code"])
    assert shown["address"].startswith("127.0.0.")
    assert "number" not in shown
    assert phone.post("/api/auth/qr/approve", approval(login)).status_code == 200

    let_in = redeem(television, login)
    assert let_in.status_code == 200
    assert int(let_in.headers["content-length"]) == len(let_in.content) > 0
    assert let_in.json()["username"] == name
    assert television.me() == name
    assert problem(redeem(television, login)) == (400, "invalid_grant")


def test_cookies_of_a_new_device_are_out_of_reach_of_scripts_and_other_sites(opened: Open, name: str) -> None:
    device = opened()
    begun = device.post("/auth/qr/init")
    bound = begun.headers["set-cookie"]
    assert bound.startswith("__Host-dubline-qr=")
    assert all(word in bound for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/", "Max-Age=300"))
    phone = opened()
    phone.sign_in(name)
    phone.post("/api/auth/qr/approve", approval(begun.json()))
    lines = redeem(device, begun.json()).headers.get_list("set-cookie")
    session = next(line for line in lines if line.startswith("__Host-dubline="))
    assert all(word in session for word in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"))


def test_the_codes_alone_are_worth_nothing_in_another_browser(opened: Open, name: str) -> None:
    phone, device, thief = opened(), opened(), opened()
    phone.sign_in(name)
    login = begun_on(device)
    begun_on(thief)  # it has a cookie of its own
    phone.post("/api/auth/qr/approve", approval(login))
    assert problem(redeem(thief, login)) == (400, "invalid_grant")
    assert redeem(device, login).status_code == 200


def test_polling_too_fast_is_told_to_slow_down(opened: Open) -> None:
    device = opened()
    login = begun_on(device)
    assert problem(redeem(device, login)) == (400, "authorization_pending")
    faster = redeem(device, login)
    assert problem(faster) == (400, "slow_down")
    assert faster.json()["interval"] == 10


def test_a_wrong_number_keeps_the_device_out(opened: Open, name: str) -> None:
    phone, device = opened(), opened()
    phone.sign_in(name)
    login = begun_on(device)
    wrong = str(10 + (int(login["number"]) - 9) % 90)
    assert problem(phone.post("/api/auth/qr/approve", approval(login, wrong))) == (403, "qr_number_wrong")
    assert problem(phone.post("/api/auth/qr/approve", approval(login))) == (409, "qr_already_answered")
    assert problem(redeem(device, login)) == (400, "access_denied")


def test_a_denied_device_is_told_so(opened: Open, name: str) -> None:
    phone, device = opened(), opened()
    phone.sign_in(name)
    login = begun_on(device)
    assert phone.post("/api/auth/qr/deny", {"user_code": login["user_code"]}).status_code == 200
    assert problem(redeem(device, login)) == (400, "access_denied")


def test_looking_and_getting_approve_nothing(opened: Open, name: str) -> None:
    phone, device = opened(), opened()
    phone.sign_in(name)
    login = begun_on(device)
    assert phone.get(f"/api/auth/qr/waiting/{login['user_code']}").status_code == 200
    assert phone.get("/api/auth/qr/approve", **approval(login)).status_code == 405
    assert problem(redeem(device, login)) == (400, "authorization_pending")


def test_nobody_lets_a_device_in_who_is_not_signed_in(opened: Open, ingest: Ingest) -> None:
    login = begun_on(opened())
    assert opened().post("/api/auth/qr/approve", approval(login)).status_code == 401
    assert opened().get(f"/api/auth/qr/waiting/{login['user_code']}").status_code == 401
    with ingest.client() as operator:  # this machine's own key is no person
        assert operator.post("/api/auth/qr/approve", json=approval(login)).status_code == 403


def test_a_session_that_is_older_than_the_factor_lets_no_device_in(opened: Open, name: str, ingest: Ingest) -> None:
    """R5.3: a QR sign-in never skips TOTP. Such a session should not exist; if it does, it approves nothing."""
    phone, elsewhere, device = opened(), opened(), opened()
    phone.sign_in(name)
    login = begun_on(device)
    elsewhere.sign_in(name)
    factor = enrol(elsewhere)
    again = opened()
    again.sign_in(name, totp=code(factor["secret"]))
    in_auth_db(ingest.layout, "UPDATE totp SET confirmed_at = confirmed_at + 3600 WHERE confirmed_at IS NOT NULL")
    refused = again.post("/api/auth/qr/approve", approval(login))
    in_auth_db(ingest.layout, "UPDATE totp SET confirmed_at = confirmed_at - 3600 WHERE confirmed_at IS NOT NULL")
    assert problem(refused) == (403, "second_factor_needed")
    assert problem(redeem(device, login)) == (400, "authorization_pending")
    assert again.post("/api/auth/qr/approve", approval(login)).status_code == 200
    assert redeem(device, login).status_code == 200


def test_what_came_in_by_a_code_has_proved_nothing_itself(opened: Open, name: str) -> None:
    """It may not take the account over, and lets nobody else in, before its person proved themself on it."""
    phone, device, next_one = opened(), opened(), opened()
    phone.sign_in(name)
    login = begun_on(device)
    phone.post("/api/auth/qr/approve", approval(login))
    redeem(device, login)
    assert problem(device.post("/api/auth/totp/setup")) == (403, "confirmation_required")
    login = begun_on(next_one)
    assert problem(device.post("/api/auth/qr/approve", approval(login))) == (403, "confirmation_required")
    assert device.confirm(password="correct horse battery staple").status_code == 200
    assert device.post("/api/auth/qr/approve", approval(login)).status_code == 200


def test_an_approval_ends_with_the_session_that_gave_it(opened: Open, name: str) -> None:
    phone, device = opened(), opened()
    phone.sign_in(name)
    login = begun_on(device)
    phone.post("/api/auth/qr/approve", approval(login))
    assert phone.post("/api/auth/logout").status_code == 200
    assert problem(redeem(device, login)) == (400, "access_denied")


def test_of_fifty_redemptions_over_the_socket_one_comes_in(opened: Open, name: str) -> None:
    phone, device = opened(), opened()
    phone.sign_in(name)
    login = begun_on(device)
    phone.post("/api/auth/qr/approve", approval(login))

    def ask(_: int) -> int:
        return device.post("/auth/qr/redeem", {"device_code": login["device_code"]}).status_code

    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(ask, range(50)))
    assert sorted(found) == [200] + [400] * 49


def test_of_fifty_requests_with_one_code_over_the_socket_one_is_accepted(opened: Open, name: str) -> None:
    browser = opened()
    browser.sign_in(name)
    body = {"code": code(enrol(browser)["secret"])}

    def ask(_: int) -> int:
        return browser.post("/api/auth/totp/disable", body).status_code

    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(ask, range(50)))
    assert found.count(200) == 1
    assert set(found) <= {200, 401, 409, 429}  # the limit of tries refuses most


def test_too_many_new_devices_from_one_address_are_refused(opened: Open) -> None:
    device = opened()
    answers = [device.post("/auth/qr/init") for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0


def test_without_a_provider_there_is_nothing_to_sign_in_with(opened: Open) -> None:
    browser = opened()
    assert browser.get("/api/auth/state").json()["oidc"] is False
    assert problem(browser.get("/api/auth/oidc/login")) == (404, "oidc_off")
    assert problem(browser.get("/api/auth/oidc/callback", state="x", code="y")) == (404, "oidc_off")
    assert problem(browser.post("/api/auth/oidc/second_factor", {"totp": "123456"})) == (404, "oidc_off")


async def test_what_happened_is_in_the_audit_log_and_no_secret_is(
    opened: Open, name: str, log: JetStreamEventLog, ingest: Ingest
) -> None:
    phone, device = opened(), opened("A television")
    phone.sign_in(name)
    factor = enrol(phone)
    login = begun_on(device)
    phone.post("/api/auth/qr/approve", approval(login))
    assert redeem(device, login).status_code == 200
    user = phone.get("/api/auth/me").json()["id"]

    deadline = time.monotonic() + 10
    while True:
        records = [each.event async for each in all_of(log)]
        events = [event for event in records if isinstance(event, AuditRecorded) and event.actor == user]
        actions = [event.data.action for event in events]
        if actions.count("login") == 2 or time.monotonic() > deadline:
            break
    assert actions == ["login", "totp.setup", "totp.enabled", "qr.approved", "login"]
    approved = events[3].data
    assert approved.detail["device_agent"] == "A television"
    assert events[4].data.detail["method"] == "qr"
    written = log_of(ingest) + "".join(event.model_dump_json() for event in events)
    secrets = [factor["secret"], *factor["recovery_codes"], login["device_code"], *device.cookies.values()]
    assert not [each for each in secrets if each in written]


def log_of(ingest: Ingest) -> str:
    return Path(f"{ingest.layout.data}.log").read_text()


async def all_of(log: JetStreamEventLog) -> AsyncIterator[Recorded]:
    after = 0
    while batch := await log.read(after=after):
        for record in batch:
            yield record
        after = batch[-1].seq
