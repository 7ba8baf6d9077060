"""Settings and limits in a real browser: kept, shown, and used by what is submitted afterwards. Nothing is dubbed."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests import local_http
from tests.browser.conftest import Opener
from tests.browser.people import new_person, sign_in
from tests.browser.test_library import UNNAMED, choice
from tests.browser.test_uploads import JOB_PAGE
from tests.dubbing_system import System, another_copy

pytestmark = pytest.mark.usefixtures("nothing_starts", "admin")  # a person's account needs the first admin's

CAP = "MAX_JOBS_HIGH"


def submitted(system: System, job_id: str) -> Any:
    """Return what the log keeps of a job's submission."""
    return system.get(f"/api/jobs/{job_id}?history=true")["history"][0]["data"]


def saved(page: Page) -> None:
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#defaults .message")).to_have_text("Saved.")


def test_ones_own_defaults_begin_the_next_submission_until_they_are_taken_back(
    opened: Opener, system: System, tmp_path: Path
) -> None:
    page = opened()
    sign_in(page, system, new_person(system, "operator"))
    expect(choice(page, "To").locator("option").first).to_be_attached()
    page.locator("#menu summary").click()
    page.get_by_role("link", name="Your settings").click()
    shown = [("Mode", "Medium"), ("Device", "Any"), ("From", "Detect"), ("To", "English")]
    for name, system_wide in shown:
        expect(choice(page, name).locator("option:checked")).to_have_text(f"As the system: {system_wide}")
    expect(page.locator("#updated")).to_have_text("Nothing was ever saved.")
    assert page.evaluate(UNNAMED) == []
    for name, value in (("Mode", "low"), ("Device", "cpu"), ("From", "en"), ("To", "pt")):
        choice(page, name).select_option(value)
    saved(page)

    page.goto(f"{system.url}/ui/jobs")
    form = page.locator("#submit")
    for name, value in (("From", "en"), ("To", "pt"), ("Mode", "low")):
        expect(choice(form, name)).to_have_value(value)
    page.locator("input[name=file]").set_input_files(another_copy(tmp_path, 860))
    page.get_by_role("button", name="Dub it").click()
    page.wait_for_url(JOB_PAGE, timeout=30_000)
    data = submitted(system, page.url.rsplit("/", 1)[-1])
    assert [data[name] for name in ("mode", "device", "src_lang", "tgt_lang")] == ["low", "cpu", "en", "pt"]

    page.goto(f"{system.url}/ui/settings")
    for name, _ in shown:
        choice(page, name).select_option("")
    saved(page)
    page.reload()
    expect(choice(page, "Mode").locator("option:checked")).to_have_text("As the system: Medium")
    expect(page.locator("#updated")).to_contain_text("Saved ")
    page.goto(f"{system.url}/ui/jobs")
    expect(page.locator("#submit select[name=tgt_lang]")).to_be_visible()
    expect(choice(form, "Mode")).to_have_value("medium")


def test_what_is_left_today_and_what_holds_for_every_video_is_told(opened: Opener, system: System) -> None:
    page = opened()
    sign_in(page, system, new_person(system, "operator"))
    page.goto(f"{system.url}/ui/settings")
    left, installation = page.locator("#left"), page.locator("#installation")
    expect(left.locator("dl")).to_have_text(re.compile(r"Jobsno limit.*Minutes of video240.*at once2"))
    expect(left.locator(".message")).to_contain_text("begin again")
    expect(installation.locator("dl")).to_have_text(re.compile(r"Largest video2\.1 GB.*Longest video120 min"))


def test_who_may_only_look_is_offered_no_change(opened: Opener, system: System) -> None:
    page = opened()
    sign_in(page, system, new_person(system, "viewer"))
    page.goto(f"{system.url}/ui/settings")
    expect(choice(page, "Mode").locator("option:checked")).to_have_text("As the system: Medium")
    expect(choice(page, "Mode")).to_be_disabled()
    expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)


def test_an_admin_sees_and_changes_the_settings_of_a_user(
    page: Page, opened: Opener, system: System, problems: list[str]
) -> None:
    person = new_person(system, "operator")
    page.goto(f"{system.url}/ui/admin/users")
    page.get_by_role("link", name=f"Settings of {person.name}").click()
    expect(page.get_by_role("heading", name=f"Settings of {person.name}")).to_be_visible()
    expect(page.locator("#left")).to_have_count(0)
    choice(page, "Mode").select_option("high")
    saved(page)
    theirs = opened()
    sign_in(theirs, system, person)
    expect(choice(theirs.locator("#submit"), "Mode")).to_have_value("high")
    answer = theirs.goto(page.url)
    assert answer
    assert answer.status == 403
    page.goto(f"{system.url}/ui/admin/users/u_0000000000000000/settings")
    expect(page.locator("#defaults .message")).to_have_text("There is no user with this id.")
    expect(page.get_by_role("button", name="Save")).to_be_disabled()
    assert all("403" in problem or "404" in problem for problem in problems)
    problems.clear()


def test_an_admin_changes_a_limit_of_the_running_system_and_takes_it_back(
    page: Page, system: System, tmp_path: Path, problems: list[str]
) -> None:
    system.submit("pt", another_copy(tmp_path, 861))
    page.goto(f"{system.url}/ui/admin/limits")
    row = page.locator(f"[data-cap={CAP}]")
    field = row.get_by_role("spinbutton")
    expect(field).to_have_value("0")
    expect(page.locator("#people")).to_contain_text("this machine0 running, 1 waiting", timeout=15_000)
    assert page.evaluate(UNNAMED) == []
    field.fill("1e300")  # a number, and more than any count
    row.get_by_role("button", name="Change").click()
    expect(row.locator(".message.bad")).to_contain_text(f"{CAP} is a number")
    assert "422" in problems.pop()
    field.fill("3")
    row.get_by_role("button", name="Change").click()
    expect(row.get_by_text("Changed here")).to_be_visible(timeout=10_000)
    in_force = {cap["name"]: cap for cap in system.get("/api/runtime/state")["caps"]}[CAP]
    assert (in_force["limit"], in_force["overridden"]) == (3, True)
    row.get_by_role("button", name="As configured").click()
    expect(row.get_by_text("Changed here")).to_be_hidden(timeout=10_000)
    expect(field).to_have_value("0")
    answer = local_http.post(f"{system.url}/api/runtime/limits", json={"overrides": {CAP: None}}, timeout=10)
    assert CAP not in answer.json()["overrides"]
