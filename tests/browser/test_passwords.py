"""Changing one's password on the account page: what ends by it, and what goes on."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Opener
from tests.browser.people import Person, new_person, show, sign_in, sign_out
from tests.dubbing_system import System

NEW = "quite other words than before"


@pytest.fixture(autouse=True)
def there_is_an_admin(admin: Any) -> None:
    """A person's account needs the first admin's."""


def change(page: Page, old: str, new: str, again: str) -> None:
    form = page.locator("#password-form")
    form.get_by_label("Now").fill(old)
    form.get_by_label("New", exact=True).fill(new)
    form.get_by_label("New, once more").fill(again)
    form.get_by_role("button", name="Change").click()


def test_a_changed_password_signs_out_everywhere_else_and_is_the_only_one_from_then_on(
    opened: Opener, system: System, problems: list[str]
) -> None:
    person = new_person(system, "operator")
    here, elsewhere = opened(), opened()
    old_cookies = sign_in(here, system, person)
    sign_in(elsewhere, system, person)
    here.goto(f"{system.url}/ui/account")
    expect(here.locator("#device-list li")).to_have_count(2)
    said = here.locator("#password-form .message")

    change(here, person.password, NEW, "something else")
    expect(said).to_have_text("The two new passwords are not the same.")
    change(here, "not the password", NEW, NEW)
    expect(said).to_have_class("message bad")
    assert "401" in problems.pop()
    change(here, person.password, NEW, NEW)
    expect(said).to_have_text("Your password is changed.")
    elsewhere.wait_for_url("**/ui/login?next=%2Fui%2Fjobs", timeout=5000)
    expect(here.locator("#device-list li")).to_have_count(1)
    here.locator("#new-key [name=name]").fill("after the change")  # the page has its new session's token
    here.get_by_role("button", name="Make key").click()
    expect(here.get_by_role("dialog", name="Your new API key")).to_be_visible()
    here.get_by_role("button", name="I have kept it").click()
    stolen = opened(old_cookies)
    stolen.goto(f"{system.url}/ui/jobs")
    stolen.wait_for_url("**/ui/login?next=**")
    assert all("401" in problem for problem in problems)  # what the others' pages went on asking for
    problems.clear()

    sign_out(here)
    show(here, person)
    expect(here.get_by_role("alert")).not_to_be_empty()
    assert "401" in problems.pop()
    show(here, Person(person.name, NEW))
    here.wait_for_url("**/ui/jobs")
