"""Accounts in a real browser: signing in and out, second factors, new devices, invites, keys, being thrown out."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest
from playwright.sync_api import Page, expect

from tests import local_http
from tests.browser.conftest import ADMIN, Opener, limit
from tests.browser.people import Person, invited, new_person, show, sign_in, sign_out
from tests.browser.test_library import UNNAMED
from tests.dubbing_system import System, another_copy
from tests.system import eventually

STEP_S = 30


def code_of(secret: str, steps: int = 0) -> str:
    return pyotp.TOTP(secret).at(int(time.time()), counter_offset=steps)


@pytest.fixture(autouse=True)
def there_is_an_admin(admin: Any) -> None:
    """These tests have browsers of their own, but a person's account needs the first admin's."""


def test_signing_in_leads_to_where_one_wanted_to_go_and_out_again(
    opened: Opener, system: System, problems: list[str]
) -> None:
    page = opened()
    page.goto(f"{system.url}/ui/projects?from=here")
    assert page.url == f"{system.url}/ui/login?next=%2Fui%2Fprojects%3Ffrom%3Dhere"
    expect(page.get_by_label("User name")).to_be_focused()
    assert page.evaluate(UNNAMED) == []
    show(page, Person(ADMIN.name, "not the password"))
    expect(page.get_by_role("alert")).to_contain_text("password")
    expect(page.get_by_label("Password")).to_be_focused()
    assert "401" in problems.pop()
    show(page, ADMIN)
    page.wait_for_url("**/ui/projects?from=here")
    cookie = next(each for each in page.context.cookies() if each["name"] == "__Host-dubline")
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
    page.goto(f"{system.url}/ui/setup")
    expect(page.get_by_text("Dubline has an admin already")).to_be_visible()
    sign_out(page)
    page.goto(f"{system.url}/ui/jobs")
    page.wait_for_url("**/ui/login?next=**")
    assert "__Host-dubline" not in {each["name"] for each in page.context.cookies()}


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example/", "/\\evil.example/", "javascript:0"])
def test_the_sign_in_page_sends_nobody_to_another_site(opened: Opener, system: System, elsewhere: str) -> None:
    page = opened()
    page.goto(f"{system.url}/ui/login?{httpx.QueryParams({'next': elsewhere})}")
    expect(page.locator("#login")).to_have_attribute("data-next", "/ui/jobs")
    assert "evil" not in page.content()


def test_a_second_factor_is_set_up_asked_for_and_turned_off(
    opened: Opener, system: System, problems: list[str]
) -> None:
    person = new_person(system, "operator")
    page = opened()
    sign_in(page, system, person)
    page.goto(f"{system.url}/ui/account")
    page.get_by_role("button", name="Set up an app").click()
    expect(page.get_by_role("img", name="The secret as a QR code")).to_be_visible()
    secret = page.locator("#factor-secret").inner_text()
    assert page.evaluate(UNNAMED) == []
    page.locator("#factor-setup").get_by_role("textbox", name="Code").fill(code_of(secret))
    page.get_by_role("button", name="Turn it on").click()
    shown = page.get_by_role("dialog", name="Your recovery codes")
    codes = shown.locator("pre").inner_text().split()
    assert len(codes) == 10
    shown.get_by_role("button", name="I have kept it").click()
    expect(page.locator("#factor-state")).to_contain_text("10 recovery codes are left")
    assert secret not in page.content()
    assert codes[0] not in page.content()
    sign_out(page)

    show(page, person)
    expect(page.get_by_label("Code of your app")).to_be_focused()
    assert "401" in problems.pop()
    page.get_by_label("Code of your app").fill(code_of(secret))  # the code that turned it on: used up
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).not_to_be_empty()
    assert "401" in problems.pop()
    page.get_by_label("Code of your app").fill(code_of(secret, 1))
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/ui/jobs")
    page.goto(f"{system.url}/ui/account")
    page.get_by_role("button", name="Turn off…").click()
    page.get_by_label("Code of your app, or a recovery code").fill(codes[0])
    page.get_by_role("button", name="Turn it off").click()
    expect(page.locator("#factor-state")).to_contain_text("Off")


def test_a_new_device_is_let_in_by_the_number_that_it_shows_and_proves_itself_before_it_changes_anything(
    opened: Opener, system: System, problems: list[str]
) -> None:
    person = new_person(system, "operator")
    signed_in, new = opened(), opened()
    sign_in(signed_in, system, person)
    new.goto(f"{system.url}/ui/login")
    new.get_by_role("link", name="Sign in with another device").click()
    code = new.locator("#user-code")
    expect(code).to_have_text(re.compile(r"^\w{4}-\w{4}$"))
    expect(new.locator("#qr svg")).to_be_visible()
    # what the picture says
    signed_in.goto(f"{system.url}/ui/qr?user_code={code.inner_text()}")
    signed_in.wait_for_url("**/ui/qr/approve?code=**")
    expect(signed_in.locator("#device")).to_have_text("Chrome on Linux")
    expect(signed_in.locator("#address")).to_have_text("127.0.0.1")
    assert new.locator("#number").inner_text() not in signed_in.locator("main").inner_text().split()
    assert signed_in.evaluate(UNNAMED) == []
    assert "/ui/qr" in new.url  # looking at it has let nobody in
    signed_in.get_by_label("The number that it shows").fill(new.locator("#number").inner_text())
    signed_in.get_by_role("button", name="Let it in").click()
    expect(signed_in.get_by_text("The other device is signed in.")).to_be_visible()
    new.wait_for_url("**/ui/jobs", timeout=15_000)
    expect(new.locator(".menu-name")).to_have_text(person.name)
    waiting = [problem for problem in problems if "400" in problem]  # "not yet" is an answer with this status
    for problem in waiting:
        problems.remove(problem)

    new.goto(f"{system.url}/ui/account")
    expect(new.locator("#device-list li")).to_have_count(2)
    form = new.get_by_role("form", name="New API key")
    form.get_by_label("Name").fill("from the new device")
    form.get_by_role("button").click()
    asked = new.get_by_role("dialog", name="Is it you?")
    asked.get_by_label("Your password").fill("not the password")
    asked.get_by_role("button", name="Go on").click()
    expect(asked.get_by_role("alert")).not_to_be_empty()
    asked.get_by_label("Your password").fill(person.password)
    asked.get_by_role("button", name="Go on").click()
    expect(new.get_by_role("dialog", name="Your new API key")).to_be_visible()
    assert ["403" in problems.pop(0), "401" in problems.pop(0)] == [True, True]


def test_a_wrong_number_keeps_the_new_device_out_for_good(opened: Opener, system: System, problems: list[str]) -> None:
    person = new_person(system, "viewer")
    signed_in, new = opened(), opened()
    sign_in(signed_in, system, person)
    new.goto(f"{system.url}/ui/qr")
    number = new.locator("#number")
    expect(number).to_have_text(re.compile(r"^\d\d$"))
    signed_in.goto(f"{system.url}/ui/qr/approve")
    signed_in.get_by_label("Code").fill(new.locator("#user-code").inner_text().lower())
    signed_in.get_by_role("button", name="Go on").click()
    signed_in.get_by_label("The number that it shows").fill(f"{(int(number.inner_text()) + 1) % 100:02}")
    signed_in.get_by_role("button", name="Let it in").click()
    expect(signed_in.locator("#approve .message")).to_contain_text("not the number")
    expect(new.get_by_role("alert")).to_contain_text("not let in", timeout=15_000)
    expect(new.get_by_role("button", name="Show another code")).to_be_focused()
    assert "403" in problems.pop(0)
    assert all("400" in problem for problem in problems)
    problems.clear()


@pytest.fixture
def two_jobs(system: System, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A shared one and a private one; they wait."""
    limit(system, 0)
    shared, private = (system.submit("pt", another_copy(tmp_path, number)) for number in (810, 811))
    body = {"visibility": "shared"}
    local_http.post(f"{system.url}/api/jobs/{shared}/visibility", json=body, timeout=10).raise_for_status()
    system.until(shared, lambda job: job["visibility"] == "shared")
    try:
        yield shared, private
    finally:
        for job in (shared, private):
            local_http.delete(f"{system.url}/api/jobs/{job}", timeout=10)
        limit(system, None)


def test_an_invited_viewer_sees_what_is_shared_and_no_button(
    two_jobs: tuple[str, str], opened: Opener, system: System, problems: list[str]
) -> None:
    shared, private = two_jobs
    page = opened()
    page.goto(f"{system.url}/ui/invite#{invited(system, 'viewer')}")
    expect(page.get_by_label("User name")).to_be_focused()
    page.get_by_label("User name").fill("just-looking")
    page.get_by_label("Password").fill("password1")
    page.get_by_label("Once more").fill("password1")
    page.get_by_role("button", name="Make my account").click()
    expect(page.get_by_role("alert")).not_to_be_empty()  # what attackers try first
    assert "422" in problems.pop()
    page.get_by_label("Password").fill("four words are enough")
    page.get_by_label("Once more").fill("four words are enough")
    page.get_by_role("button", name="Make my account").click()
    page.wait_for_url("**/ui/jobs")
    expect(page.locator(f"#job-{shared}")).to_be_visible()
    expect(page.locator(f"#job-{private}")).to_have_count(0)
    for path in ("/ui/jobs", f"/ui/jobs/{shared}", "/ui/projects", "/ui/webhooks"):
        page.goto(system.url + path)
        expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)
        expect(page.locator("main input[type=checkbox][data-pick], main input[type=file]")).to_have_count(0)
    for path, status, heading in ((f"/ui/jobs/{private}", 404, "Not here"), ("/ui/admin/users", 403, "Not for you")):
        answer = page.goto(system.url + path)
        assert answer
        assert answer.status == status
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
        expect(page.locator(".menu-name")).to_have_text("just-looking")
        assert str(status) in problems.pop()


def test_an_operator_has_buttons_for_their_own_jobs_alone(
    two_jobs: tuple[str, str], opened: Opener, system: System
) -> None:
    shared, _ = two_jobs
    page = opened()
    sign_in(page, system, new_person(system, "operator"))
    expect(page.locator("#submit")).to_be_visible()
    expect(page.locator(f"#job-{shared}")).to_be_visible()
    expect(page.locator("[data-pick]")).to_have_count(0)
    page.goto(f"{system.url}/ui/jobs/{shared}")
    expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)


def test_an_api_key_is_made_used_and_revoked(opened: Opener, system: System) -> None:
    page = opened()
    sign_in(page, system, new_person(system, "operator"))
    page.goto(f"{system.url}/ui/account")
    form = page.get_by_role("form", name="New API key")
    form.get_by_label("Name").fill("nightly")
    expect(form.get_by_role("checkbox")).to_have_count(2)  # no scope that an operator does not have
    form.get_by_role("button").click()
    shown = page.get_by_role("dialog", name="Your new API key")
    key = shown.locator("pre").inner_text()
    shown.get_by_role("button", name="I have kept it").click()
    row = page.locator("#key-list li")
    expect(row).to_contain_text("never used")
    assert key not in page.content()
    headers = {"X-Api-Key": key}
    assert httpx.get(f"{system.url}/api/jobs", headers=headers, timeout=10).status_code == 200
    assert httpx.delete(f"{system.url}/api/jobs/j", headers=headers, timeout=10).status_code == 403  # read:job alone

    def told() -> bool:
        page.reload()
        row.wait_for()
        return "last used" in row.inner_text()

    eventually("its use is told", told)
    row.get_by_role("button", name="Revoke nightly").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("Revoked")
    assert httpx.get(f"{system.url}/api/jobs", headers=headers, timeout=10).status_code == 401


def test_a_revoked_session_is_thrown_out_within_a_second(opened: Opener, system: System, problems: list[str]) -> None:
    person = new_person(system, "operator")
    here, there = opened(), opened()
    sign_in(here, system, person)
    sign_in(there, system, person)
    there.wait_for_function("() => performance.getEntriesByType('resource').some(it => it.name.includes('/api/'))")
    here.goto(f"{system.url}/ui/account")
    expect(here.locator("#device-list li")).to_have_count(2)
    expect(here.locator("#device-list [data-current]:visible")).to_have_count(1)
    here.locator("#device-list").get_by_role("button", name="Sign out").click()
    there.wait_for_url("**/ui/login?next=%2Fui%2Fjobs", timeout=1000)
    expect(here.locator("#device-list li")).to_have_count(1)
    assert all("401" in problem for problem in problems)
    problems.clear()


def test_an_admin_invites_changes_and_disables_a_user_and_finds_it_in_the_audit_trail(
    page: Page, opened: Opener, system: System, problems: list[str]
) -> None:
    person = new_person(system, "viewer")
    theirs = opened()
    sign_in(theirs, system, person)
    page.goto(f"{system.url}/ui/admin/users")
    row = page.locator("#user-list li").filter(has_text=person.name)
    with page.expect_response(lambda answer: "/api/users/" in answer.url):
        row.get_by_role("combobox", name=f"Role of {person.name}").select_option("editor")
    theirs.reload()
    expect(theirs.locator("#menu .role")).to_have_text("editor")
    theirs.goto("about:blank")  # a page that is open would be refused what it goes on asking for
    row.get_by_role("button", name=f"Disable {person.name}").click()
    page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    expect(row).to_contain_text("Disabled")
    deadline = time.monotonic() + 5  # another service believes a credential for a second at most
    while theirs.request.get(f"{system.url}/api/jobs").status != 401 and time.monotonic() < deadline:
        theirs.wait_for_timeout(50)
    theirs.goto(f"{system.url}/ui/projects")
    theirs.wait_for_url("**/ui/login?next=**")
    own = page.locator("#user-list li").filter(has_text=ADMIN.name)
    own.get_by_role("combobox").select_option("viewer")
    expect(own.locator(".message")).not_to_be_empty()  # nobody could administer any more
    expect(own.get_by_role("combobox")).to_have_value("admin")
    assert "409" in problems.pop()

    form = page.get_by_role("form", name="New invite")
    form.get_by_role("button").click()
    shown = page.get_by_role("dialog", name="The invite's link")
    expect(shown.locator("pre")).to_have_text(re.compile(rf"^{system.url}/ui/invite#dubinvite_\w+$"))
    shown.get_by_role("button", name="I have kept it").click()
    page.get_by_role("button", name="Withdraw").first.click()
    expect(page.locator("#invite-list li").first).to_contain_text("revoked")
    assert page.evaluate(UNNAMED) == []

    page.goto(f"{system.url}/ui/admin/audit")
    page.get_by_label("Action").fill("user.disabled")
    entry = page.locator("#audit-list li")
    expect(entry.first).to_contain_text(f"by {ADMIN.name}")
    expect(entry.first).to_contain_text(f"about {person.name}")
    expect(entry.filter(has_not_text="user disabled")).to_have_count(0, timeout=10_000)
    assert page.evaluate(UNNAMED) == []


def test_a_forgotten_password_is_chosen_anew_with_an_admins_link(page: Page, opened: Opener, system: System) -> None:
    person = new_person(system, "viewer")
    page.goto(f"{system.url}/ui/admin/users")
    page.get_by_role("button", name=f"New password for {person.name}").click()
    shown = page.get_by_role("dialog", name="A new password")
    link = shown.locator("pre").inner_text()
    theirs = opened()
    theirs.goto(link)
    theirs.get_by_label("New password").fill("other words than before")
    theirs.get_by_label("Once more").fill("other words than before")
    theirs.get_by_role("button", name="Change my password").click()
    expect(theirs.get_by_text("Your password is changed.")).to_be_visible()
    show(theirs, Person(person.name, "other words than before"))
    theirs.wait_for_url("**/ui/jobs")
