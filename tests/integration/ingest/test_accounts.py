"""How accounts come to be and end, over a real socket: set-up, invites, roles, disabling, resetting a password."""

import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from services.ingest.accounts.audit import ANONYMOUS
from tests.broker import BinaryBroker
from tests.integration.ingest.service import running_ingest
from tests.integration.ingest.visitors import BEHIND_GATEWAY, OTHER_PASSWORD, PASSWORD, Door, Visitor

AT_ONCE = 50
FIRST = "first"


@pytest.fixture(scope="module")
def door(own_broker: BinaryBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """An installation whose first admin came by the set-up token."""
    with running_ingest(tmp_path_factory.mktemp("ingest") / "data", own_broker.url, **BEHIND_GATEWAY) as running:
        door = Door(running)
        assert set_up(door, token_of(door)).status_code == 201
        yield door


def token_of(door: Door) -> str:
    return door.ingest.layout.setup_token.read_text().strip()


def set_up(door: Door, token: str, **other: str) -> httpx.Response:
    wanted = {"token": token, "username": FIRST, "password": PASSWORD} | other
    return door.visitor().post("/api/setup", wanted)


def at_once(work: Callable[[int], httpx.Response]) -> "Counter[tuple[int, str]]":
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(work, range(AT_ONCE)))
    return Counter((answer.status_code, answer.json().get("code", "")) for answer in answers)


def test_a_first_run_has_no_account_and_the_token_in_its_file_makes_the_first_admin_for_ever(
    own_broker: BinaryBroker, tmp_path: Path
) -> None:
    with running_ingest(tmp_path / "data", own_broker.url, **BEHIND_GATEWAY) as running:
        of_an_earlier_start = token_of(Door(running))
    with running_ingest(tmp_path / "data", own_broker.url, **BEHIND_GATEWAY) as running:
        fresh, layout = Door(running), running.layout
        visitor, token = fresh.visitor(), token_of(fresh)
        assert visitor.get("/api/auth/state").json() == {"setup_needed": True, "oidc": False}
        for name in ("admin", "root", "dubline"):
            assert visitor.sign_in(name, name).status_code == 401
        assert stat.S_IMODE(layout.setup_token.stat().st_mode) == 0o600
        logged = fresh.log_text()
        assert str(layout.setup_token) in logged
        assert token not in logged
        for status, code, wrong in (
            (400, "invalid_setup_token", {"token": of_an_earlier_start}),
            (422, "invalid_username", {"username": "no/name"}),
            (422, "password_common", {"password": "iloveyou"}),
        ):
            answer = set_up(fresh, **{"token": token} | wrong)
            assert (answer.status_code, answer.json()["code"]) == (status, code)

        outcome = at_once(lambda n: set_up(fresh, token, username=f"first{n}"))
        assert outcome[201, ""] == 1
        assert set(outcome) <= {(201, ""), (410, "setup_closed"), (503, "busy")}
        with fresh.rows() as rows:
            assert [row[0] for row in rows.execute("SELECT role FROM users")] == ["admin"]
        assert not layout.setup_token.exists()
        assert visitor.get("/api/auth/state").json()["setup_needed"] is False
        closed = set_up(fresh, token)
        assert (closed.status_code, closed.json()["code"]) == (410, "setup_closed")


def test_the_first_admin_is_signed_in_and_stays(door: Door) -> None:
    boss = door.browser(FIRST)
    (mine,) = boss.get(f"/api/audit/recent?action=setup&user={door.user_id(FIRST)}").json()["items"]
    assert mine["outcome"] == "succeeded"
    with door.rows() as rows:
        methods = rows.execute("SELECT method FROM sessions WHERE user_id = ?", (door.user_id(FIRST),)).fetchall()
        rows.execute("UPDATE users SET disabled_at = 1 WHERE role = 'admin' AND username <> ?", (FIRST,))
    assert ("setup",) in methods
    for change in ({"role": "editor"}, {"disabled": True}):
        answer = boss.ask("PUT", f"/api/users/{door.user_id(FIRST)}", change)
        assert (answer.status_code, answer.json()["code"]) == (409, "last_admin")
    assert boss.ask("PUT", "/api/users/u_0123456789abcdef", {"disabled": True}).status_code == 404
    assert boss.get("/api/auth/me").json()["role"] == "admin"


def admin(door: Door) -> Visitor:
    return door.browser(door.person("admin"))


def invited(door: Door, role: str = "operator") -> str:
    answer = admin(door).post("/api/admin/invites", {"role": role})
    assert answer.status_code == 201
    made = answer.json()
    assert made["url"] == f"/ui/invite#{made['token']}"
    return str(made["token"])


def test_an_invite_lets_one_person_make_one_account_with_a_password_of_their_own(door: Door) -> None:
    boss = admin(door)
    made = boss.post("/api/admin/invites", {"role": "operator", "hours": 2}).json()
    wanted = {"token": made["token"], "username": "guest.one", "password": PASSWORD}
    assert (made["state"], made["role"]) == ("open", "operator")
    taken = door.visitor().post("/api/invites/redeem", wanted | {"username": door.person().upper()})
    assert (taken.status_code, taken.json()["code"]) == (409, "username_taken")
    answer = door.visitor().post("/api/invites/redeem", wanted)
    assert (answer.status_code, answer.json()["role"]) == (201, "operator")
    again = door.visitor().post("/api/invites/redeem", wanted | {"username": "guest.two"})
    assert (again.status_code, again.json()["code"]) == (410, "invite_used")
    assert door.browser("guest.one").get("/api/auth/me").json()["role"] == "operator"
    (listed,) = [item for item in boss.get("/api/admin/invites").json()["items"] if item["id"] == made["id"]]
    assert (listed["state"], listed["used_by"]) == ("used", answer.json()["id"])
    assert "token" not in listed


def test_a_session_that_somebody_left_open_makes_no_admin(door: Door) -> None:
    boss, other = admin(door), door.browser(door.person())
    with door.rows() as rows:
        rows.execute("UPDATE sessions SET confirmed_at = ?", (time.time() - 301,))
    user = f"/api/users/{other.get('/api/auth/me').json()['id']}"
    for method, path, body in (
        ("PUT", user, {"role": "admin"}),
        ("POST", "/api/admin/invites", {"role": "admin"}),
        ("POST", f"{user}/password_reset", None),
    ):
        refused = boss.ask(method, path, body)
        assert (refused.status_code, refused.json()["code"]) == (403, "confirmation_required"), path
    boss.take(boss.post("/api/auth/confirm", {"password": PASSWORD}))
    assert boss.ask("PUT", user, {"role": "editor"}).json()["role"] == "editor"


def test_an_invite_that_was_withdrawn_or_never_was_is_refused(door: Door) -> None:
    boss = admin(door)
    made = boss.post("/api/admin/invites", {"role": "viewer"}).json()
    assert boss.ask("DELETE", f"/api/admin/invites/{made['id']}").json()["state"] == "revoked"
    assert boss.ask("DELETE", "/api/admin/invites/inv_0123456789abcdef").status_code == 404
    for token, status, code in ((made["token"], 410, "invite_expired"), ("dubinvite_x", 400, "invalid_invite")):
        answer = door.visitor().post(
            "/api/invites/redeem", {"token": token, "username": "guest.three", "password": PASSWORD}
        )
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    for hours in (0, 169):
        assert boss.post("/api/admin/invites", {"role": "viewer", "hours": hours}).status_code == 422


def test_one_invite_is_tried_five_times_a_minute_from_everywhere_together(door: Door) -> None:
    token = invited(door)
    wanted = {"token": token, "username": "guest.four", "password": "iloveyou"}
    tried = [door.visitor().post("/api/invites/redeem", wanted).status_code for _ in range(6)]
    assert tried == [422] * 5 + [429]


def test_of_many_who_redeem_one_invite_at_once_one_gets_the_account(door: Door) -> None:
    token = invited(door)
    wanted = {"token": token, "password": PASSWORD}
    outcome = at_once(lambda n: door.visitor().post("/api/invites/redeem", wanted | {"username": f"racer{n}"}))
    assert outcome[201, ""] == 1
    assert set(outcome) <= {(201, ""), (410, "invite_used"), (429, "too_many_requests")}
    with door.rows() as rows:
        assert rows.execute("SELECT count(*) FROM users WHERE username LIKE 'racer%'").fetchone() == (1,)


def test_only_an_admin_sees_and_makes_users_and_invites(door: Door) -> None:
    editor, other = door.browser(door.person("editor")), door.user_id(door.person())
    for method, path in (
        *(("GET", "/api/users"), ("PUT", f"/api/users/{other}")),
        *(("GET", "/api/admin/invites"), ("POST", "/api/admin/invites")),
        ("POST", f"/api/users/{other}/password_reset"),
    ):
        assert editor.ask(method, path, {} if method != "GET" else None).status_code == 403, path


def test_a_disabled_user_is_out_at_once_and_comes_back_only_by_signing_in(door: Door) -> None:
    boss, name = admin(door), door.person("operator")
    browser, program = door.browser(name), door.program(name)
    assert browser.get("/api/auth/me").status_code == program.get("/api/auth/me").status_code == 200
    answer = boss.ask("PUT", f"/api/users/{door.user_id(name)}", {"disabled": True})
    assert (answer.status_code, answer.json()["disabled"], answer.json()["role"]) == (200, True, "operator")
    assert browser.get("/api/auth/me").status_code == program.get("/api/auth/me").status_code == 401
    assert door.visitor().sign_in(name).json()["code"] == "invalid_credentials"
    boss.ask("PUT", f"/api/users/{door.user_id(name)}", {"disabled": False})
    assert browser.get("/api/auth/me").status_code == program.get("/api/auth/me").status_code == 401
    assert door.visitor().sign_in(name).status_code == 200


def test_another_role_holds_at_once_for_sessions_and_tokens_that_are_there(door: Door) -> None:
    boss, name = admin(door), door.person("admin")
    browser, program = door.browser(name), door.program(name)
    assert browser.get("/api/users").status_code == program.get("/api/users").status_code == 200
    boss.ask("PUT", f"/api/users/{door.user_id(name)}", {"role": "viewer"})
    assert browser.get("/api/users").status_code == program.get("/api/users").status_code == 403
    assert browser.get("/api/auth/me").json()["role"] == "viewer"


def test_changes_of_accounts_are_on_record_with_who_made_them(door: Door) -> None:
    boss, name = admin(door), door.person()
    me, them = boss.get("/api/auth/me").json()["id"], door.user_id(name)
    for change in ({"role": "editor"}, {"disabled": True}, {"disabled": False}, {}):
        assert boss.ask("PUT", f"/api/users/{them}", change).status_code == 200
    items = boss.get(f"/api/audit/recent?user={them}").json()["items"]
    assert [(item["action"], item["actor"]) for item in items] == [
        *(("user.enabled", me), ("user.disabled", me), ("user.role_changed", me)),
    ]
    assert items[-1]["detail"] == {"before": "viewer", "after": "editor"}


def test_who_forgot_the_password_chooses_another_one_with_a_token_of_an_admins(door: Door) -> None:
    boss, name = admin(door), door.person()
    browser = door.browser(name)
    made = boss.post(f"/api/users/{door.user_id(name)}/password_reset").json()
    assert browser.get("/api/auth/me").status_code == 200  # nothing happens before it is used
    wanted = {"token": made["token"], "new_password": OTHER_PASSWORD}
    assert door.visitor().post("/api/auth/reset", wanted | {"new_password": "iloveyou"}).status_code == 422
    assert door.visitor().post("/api/auth/reset", wanted).json() == {"ok": True}
    assert door.visitor().post("/api/auth/reset", wanted).json()["code"] == "invalid_reset"
    assert browser.get("/api/auth/me").status_code == 401
    assert door.visitor().sign_in(name).status_code == 401
    assert door.visitor().sign_in(name, OTHER_PASSWORD).status_code == 200


def test_no_program_hands_out_a_reset_token(door: Door) -> None:
    with door.ingest.client() as local:
        refused = local.post(f"/api/users/{door.user_id(door.person())}/password_reset")
    assert (refused.status_code, refused.json()["code"]) == (403, "confirmation_required")


def test_failures_before_anybody_is_known_are_on_record_as_anonymous(door: Door) -> None:
    visitor = door.visitor()
    visitor.post("/api/invites/redeem", {"token": "dubinvite_x", "username": "guest", "password": PASSWORD})
    items = admin(door).get("/api/audit/recent?action=invite.redeemed&outcome=failed").json()["items"]
    mine = [item for item in items if item["address"] == visitor.address]
    assert [(item["actor"], item["detail"]) for item in mine] == [(ANONYMOUS, {"reason": "invalid_invite"})]
