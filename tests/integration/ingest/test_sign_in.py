"""Signing in and out over a real socket against a running ingest: V2, B6, and the predecessor's faults in accounts."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.cookies import SimpleCookie
from urllib.parse import urlencode

import pytest
from argon2 import PasswordHasher

from tests import local_http
from tests.broker import BinaryBroker
from tests.integration.ingest.service import running_ingest
from tests.integration.ingest.visitors import (
    BEHIND_GATEWAY,
    COOKIE,
    OTHER_PASSWORD,
    PASSWORD,
    Door,
    json_of,
    session_cookie,
)

JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def door(own_broker: BinaryBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with running_ingest(tmp_path_factory.mktemp("ingest") / "data", own_broker.url, **BEHIND_GATEWAY) as running:
        made = Door(running)
        made.person("admin")
        yield made


@pytest.mark.parametrize("path", ["/auth/login", "/api/auth/login"])
@pytest.mark.parametrize("session", [False, True])
def test_v2_content_length_is_that_of_the_body_and_the_body_has_what_clients_need(
    door: Door, path: str, session: bool
) -> None:
    name = door.person("operator")
    fields = {"username": name, "password": PASSWORD} | ({"session": "true"} if session else {})
    as_json = '{"username": "%s", "password": "%s", "session": %s}' % (name, PASSWORD, str(session).lower())  # noqa: UP031 -- braces
    for kind, sent in ((JSON, as_json.encode()), (FORM, urlencode(fields).encode())):
        status, headers, body = door.raw(path, kind, sent)
        assert status == b"HTTP/1.1 200 OK"
        assert int(headers["content-length"]) == len(body) > 0
        answer = json_of(body)
        assert (answer["role"], answer["username"]) == ("operator", name)
        assert ("access_token" in answer, "refresh_token" in answer) == (not session, not session)
        assert ("set-cookie" in headers, bool(answer["csrf_token"])) == (session, session)
        if not session:
            assert (answer["token_type"], 0 < answer["expires_in"] <= 900) == ("bearer", True)


def test_a_session_cookie_is_for_this_host_alone_and_out_of_reach_of_scripts(door: Door) -> None:
    answer = door.visitor().sign_in(door.person(), session=True)
    cookie = SimpleCookie(answer.headers["set-cookie"])[COOKIE]
    assert (cookie["path"], cookie["secure"], cookie["httponly"], cookie["samesite"]) == ("/", True, True, "lax")
    assert cookie["domain"] == ""
    assert int(cookie["max-age"]) == pytest.approx(30 * 86400, abs=5)  # B6: not a quarter of an hour
    assert "no-store" in answer.headers["cache-control"]


def test_unknown_users_wrong_passwords_and_disabled_users_are_told_the_same(door: Door) -> None:
    known, disabled = door.person(), door.person()
    with door.rows() as rows:
        rows.execute("UPDATE users SET disabled_at = 1 WHERE username = ?", (disabled,))
    answers = [
        door.visitor().sign_in(name, password)
        for name, password in ((known, "wrong password"), ("nobody-here", PASSWORD), (disabled, PASSWORD))
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    assert answers[0].json()["code"] == "invalid_credentials"


def test_names_are_typed_in_any_case(door: Door) -> None:
    assert door.visitor().sign_in(door.person().upper()).status_code == 200


def test_what_is_no_sign_in_is_refused_in_words(door: Door) -> None:
    visitor = door.visitor()
    for content_type, body, status, code in (
        (JSON, b"{", 400, "malformed_json"),
        (JSON, b"[" * 20000, 400, "malformed_json"),
        (JSON, b"[]", 422, "invalid_request"),
        (JSON, b'{"username": "x", "password": "y", "extra": 1}', 422, "invalid_request"),
        (JSON, b'{"username": ["x"], "password": "y"}', 422, "invalid_request"),
        (JSON, b'{"username": "x", "password": "\\ud800"}', 422, "invalid_request"),
        (FORM, b"username=x", 422, "invalid_request"),
        ("multipart/form-data", b"--x\r\n", 400, "http_400"),
        ("text/plain", b"username=x", 415, "unsupported_body"),
    ):
        answer = visitor.post("/api/auth/login", content=body, headers={"Content-Type": content_type})
        assert (answer.status_code, answer.json()["code"]) == (status, code), body[:40]
        assert "ud800" not in answer.text


def test_the_sixth_wrong_password_from_one_address_waits(door: Door) -> None:
    name, guesser = door.person(), door.visitor()
    assert [guesser.sign_in(name, f"guess {n} of many").status_code for n in range(5)] == [401] * 5
    refused = [guesser.sign_in(name) for _ in range(5)]  # the right one, too
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(429, "too_many_requests")}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
    assert door.visitor().sign_in(name).status_code == 200  # the person themself is not locked out


def test_who_signs_in_rightly_again_and_again_is_not_slowed_down(door: Door) -> None:
    name, visitor = door.person(), door.visitor()
    assert [visitor.sign_in(name).status_code for _ in range(8)] == [200] * 8


def test_signing_in_again_ends_the_session_that_the_browser_had(door: Door) -> None:
    name = door.person()
    browser = door.browser(name)
    before = browser.cookie
    browser.sign_in(name, session=True)
    assert browser.cookie != before
    assert browser.get("/api/auth/me").status_code == 200
    browser.cookie = before
    assert browser.get("/api/auth/me").status_code == 401


@pytest.mark.parametrize("path", ["/auth/logout", "/api/auth/logout"])
def test_signing_out_ends_the_credential_at_once_and_clears_the_browser(door: Door, path: str) -> None:
    name = door.person()
    browser, program = door.browser(name), door.program(name)
    assert browser.get("/api/auth/me").status_code == program.get("/api/auth/me").status_code == 200
    answer = browser.post(path)
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    assert answer.headers["clear-site-data"] == '"cache", "cookies", "storage"'
    assert session_cookie(answer) == ""
    assert browser.get("/api/auth/me").status_code == 401
    assert program.post(path).status_code == 200
    assert program.get("/api/auth/me").status_code == 401  # the predecessor's access token outlived it


def test_me_tells_who_asks_for_every_kind_of_credential(door: Door) -> None:
    name = door.person("operator")
    browser, program = door.browser(name), door.program(name)
    told = browser.get("/api/auth/me").json()
    assert (told["username"], told["role"], told["scopes"]) == (name, "operator", ["read:job", "submit:job"])
    assert (told["kind"], told["csrf_token"]) == ("session", browser.csrf)
    assert (told["has_totp"], told["has_password"], told["setup_needed"]) == (False, True, False)
    told = program.get("/api/auth/me").json()
    assert (told["kind"], told["csrf_token"], told["id"]) == ("token", "", door.user_id(name))
    with door.ingest.client() as local:
        told = local.get("/api/auth/me").json()
    assert (told["kind"], told["role"], told["confirmed_until"]) == ("local", "admin", None)
    assert door.visitor().get("/api/auth/me").status_code == 401


def test_an_older_hash_is_made_anew_at_the_next_sign_in(door: Door) -> None:
    name = door.person()
    old = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    with door.rows() as rows:
        rows.execute("UPDATE users SET password_hash = ? WHERE username = ?", (old, name))
    assert door.visitor().sign_in(name, "wrong password").status_code == 401
    assert door.visitor().sign_in(name).status_code == 200
    with door.rows() as rows:
        kept = rows.execute("SELECT password_hash FROM users WHERE username = ?", (name,)).fetchone()[0]
    assert "m=19456,t=2,p=1" in kept
    assert door.visitor().sign_in(name).status_code == 200


def test_a_confirmation_counts_for_this_session_and_is_needed_after_five_minutes(door: Door) -> None:
    name = door.person()
    browser = door.browser(name)
    with door.rows() as rows:
        rows.execute("UPDATE sessions SET confirmed_at = ?", (time.time() - 301,))
    refused = browser.post("/api/auth/sessions/revoke_all")
    assert (refused.status_code, refused.json()["code"]) == (403, "confirmation_required")
    for proof, status in (({}, 422), ({"password": "wrong password"}, 401), ({"totp": "123456"}, 401)):
        assert browser.post("/api/auth/confirm", proof).status_code == status, proof
    answer = browser.post("/api/auth/confirm", {"password": PASSWORD})
    assert answer.json()["ok"] is True
    browser.take(answer)
    assert browser.post("/api/auth/sessions/revoke_all").status_code == 200


def test_a_confirmation_gives_the_session_another_cookie_and_the_old_one_is_refused_at_once(door: Door) -> None:
    browser = door.browser(door.person())
    before = replace(browser)
    (device,) = browser.get("/api/auth/sessions").json()["items"]
    answer = browser.post("/api/auth/confirm", {"password": PASSWORD})
    browser.take(answer)
    assert browser.cookie not in ("", before.cookie)
    assert browser.csrf not in ("", before.csrf)
    cookie = answer.headers["set-cookie"].lower()
    for said in ("httponly", "secure", "samesite=lax", "path=/"):
        assert said in cookie
    assert answer.headers["cache-control"] == "no-store"
    refused = before.get("/api/auth/me")
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_credential")
    (after,) = browser.get("/api/auth/sessions").json()["items"]
    times = {"last_used_at"}
    assert {name: after[name] for name in set(after) - times} == {name: device[name] for name in set(device) - times}
    assert browser.post("/api/auth/sessions/revoke_all").status_code == 200


def test_of_ten_confirmations_at_once_the_one_that_won_leaves_a_session_that_works(door: Door) -> None:
    """Two answers with two cookies would leave the browser with the one that came last, whichever that is."""
    browser = door.browser(door.person())
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda _: browser.post("/api/auth/confirm", {"password": PASSWORD}), range(10)))
    (won,) = [answer for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} <= {200, 401, 429, 503}
    browser.take(won)
    assert browser.get("/api/auth/me").status_code == 200


def test_a_program_that_confirms_keeps_its_tokens(door: Door) -> None:
    program = door.program(door.person())
    answer = program.post("/api/auth/confirm", {"password": PASSWORD})
    assert (answer.status_code, answer.json()["csrf_token"], session_cookie(answer)) == (200, "", None)
    assert program.post("/api/auth/sessions/revoke_all").status_code == 200


def test_who_has_no_second_factor_confirms_nothing_with_a_code(door: Door) -> None:
    refused = door.browser(door.person()).post("/api/auth/confirm", {"totp": "000000"})
    assert (refused.status_code, refused.json()["code"]) == (401, "totp_invalid")


def test_changing_the_password_needs_the_old_one_and_ends_every_other_sign_in(door: Door) -> None:
    name = door.person()
    browser, elsewhere, program = door.browser(name), door.browser(name), door.program(name)
    before = browser.cookie
    change = {"old_password": "wrong password", "new_password": OTHER_PASSWORD}
    assert browser.post("/api/auth/password", change).status_code == 401
    for bad, code in (("short", "password_length"), ("iloveyou", "password_common"), (name * 2, "password_common")):
        answer = browser.post("/api/auth/password", {"old_password": PASSWORD, "new_password": bad})
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    answer = browser.post("/api/auth/password", change | {"old_password": PASSWORD})
    assert answer.status_code == 200
    browser.take(answer)
    assert browser.get("/api/auth/me").status_code == 200
    browser.cookie = before
    assert {each.get("/api/auth/me").status_code for each in (browser, elsewhere, program)} == {401}
    assert door.visitor().sign_in(name).status_code == 401
    assert door.visitor().sign_in(name, OTHER_PASSWORD).status_code == 200


def test_a_program_that_changes_the_password_keeps_its_tokens(door: Door) -> None:
    name = door.person()
    program, elsewhere = door.program(name), door.browser(name)
    answer = program.post("/api/auth/password", {"old_password": PASSWORD, "new_password": OTHER_PASSWORD})
    assert (answer.status_code, answer.json()["csrf_token"], session_cookie(answer)) == (200, "", None)
    assert program.get("/api/auth/me").status_code == 200
    assert elsewhere.get("/api/auth/me").status_code == 401


@pytest.mark.parametrize("path", ["/auth/sessions", "/api/auth/sessions"])
def test_sign_ins_are_listed_and_one_of_them_is_ended_at_once(door: Door, path: str) -> None:
    name = door.person()
    browser, program = door.browser(name), door.visitor()
    program.sign_in(name, device_name="backup script")
    items = browser.get(path).json()["items"]
    assert Counter((item["kind"], item["current"], item["device_name"]) for item in items) == {
        ("session", True, ""): 1,
        ("token", False, "backup script"): 1,
    }
    token = next(item for item in items if item["kind"] == "token")
    assert set(token) == {
        *("device_id", "device_name", "kind", "current", "created_at", "last_used_at", "expires_at"),
        *("created_ip", "last_ip", "user_agent"),
    }
    assert token["created_ip"] == program.address
    assert token["user_agent"].startswith("python-httpx")
    assert program.get("/api/auth/me").status_code == 200
    stranger = door.browser(door.person())
    assert stranger.post(f"{path}/{token['device_id']}/revoke").status_code == 404
    assert browser.post(f"{path}/{token['device_id']}/revoke").json() == {"ok": True}
    assert program.get("/api/auth/me").status_code == 401
    assert browser.post(f"{path}/{token['device_id']}/revoke").status_code == 404


def test_all_other_sign_ins_end_at_once(door: Door) -> None:
    name = door.person()
    browser, others = door.browser(name), [door.browser(name), door.program(name)]
    assert {each.get("/api/auth/me").status_code for each in others} == {200}
    assert browser.post("/api/auth/sessions/revoke_all").json() == {"ok": True, "ended": 2}
    assert {each.get("/api/auth/me").status_code for each in others} == {401}
    assert browser.get("/api/auth/me").status_code == 200


def test_what_a_browser_sends_by_itself_changes_nothing_without_the_sessions_own_token(door: Door) -> None:
    browser = door.browser(door.person())
    browser.csrf, right = door.browser(door.person()).csrf, browser.csrf
    assert browser.post("/api/auth/logout").status_code == 403  # another session's: the predecessor's was unbound
    browser.csrf = right
    assert browser.post("/api/auth/logout").status_code == 200


def test_a_sign_in_that_succeeds_leaves_no_record_of_a_failure(door: Door) -> None:
    name = door.person()
    browser = door.browser(name)
    mine = browser.get("/api/audit/recent").json()["items"]
    assert [(item["action"], item["outcome"]) for item in mine] == [("login", "succeeded")]
    door.visitor().sign_in(name, "wrong password")
    events = local_http.get(f"{door.ingest.url}/api/audit/recent?user={door.user_id(name)}", trust_env=False)
    assert Counter((item["action"], item["outcome"]) for item in events.json()["items"]) == {
        ("login", "succeeded"): 1,
        ("login", "failed"): 1,
    }


def test_no_log_line_has_a_password_a_token_or_what_was_typed_for_a_name(door: Door) -> None:
    typed = "my-password-in-the-wrong-field"
    door.visitor().sign_in(typed, "x" * 20)
    name = door.person()
    browser, program = door.browser(name), door.program(name)
    browser.post("/api/auth/password", {"old_password": PASSWORD, "new_password": OTHER_PASSWORD})
    logged = door.log_text()
    assert '"login"' in logged or "login" in logged
    for word in (typed, PASSWORD, OTHER_PASSWORD, browser.cookie, program.bearer, browser.csrf):
        assert word not in logged
