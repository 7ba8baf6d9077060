"""The library in a real browser: finding, sorting, looking back, deleting; projects, presets, webhooks.

The jobs here wait all the while: nothing may start, so nothing is dubbed.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests import local_http
from tests.browser.conftest import limit
from tests.dubbed_sample import Dub
from tests.dubbing_system import System, another_copy

TITLES = ("Alpha holiday.mp4", "Beta interview.mp4", "Gamma trailer.mp4")
TABS_MAX = 80
SECRET = re.compile("^whsec_")

UNNAMED = """() => [...document.querySelectorAll('input, select, textarea, button, a[href], progress, dialog[open]')]
  .filter((it) => it.checkVisibility() && it.type !== 'hidden')
  .filter((it) => !(it.labels?.[0]?.textContent.trim() || it.ariaLabel || it.textContent.trim()
    || it.querySelector('img[alt]')?.alt || it.getAttribute('aria-labelledby')))
  .map((it) => it.outerHTML)"""
"""What can be used and has no name to say to a screen reader."""


def title(number: int, directory: Path) -> Path:
    return another_copy(directory, 600 + number).rename(directory / TITLES[number])


@pytest.fixture(scope="module")
def shelf(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Three jobs that wait, by the first word of their titles. Tests that take one away say so."""
    directory = tmp_path_factory.mktemp("shelf")
    limit(system, 0)
    jobs = {name.split()[0]: system.submit("pt", title(number, directory)) for number, name in enumerate(TITLES)}
    try:
        yield jobs
    finally:
        for job in system.get("/api/jobs?include_archived=1&state=QUEUED")["items"]:
            local_http.delete(f"{system.url}/api/jobs/{job['id']}", timeout=10)
        limit(system, None)


def titles(page: Page) -> Locator:
    return page.locator(".job-title")


def choice(within: Page | Locator, name: str) -> Locator:
    return within.get_by_role("combobox", name=name, exact=True)


def test_jobs_are_found_tagged_archived_and_deleted_from_the_list(
    page: Page, system: System, dub: Dub, shelf: dict[str, str]
) -> None:
    """It takes Gamma away."""
    page.goto(f"{system.url}/ui/jobs")
    expect(page.locator(f"#job-{dub.id}")).to_be_visible()
    page.get_by_label("Find by name").fill("holi")
    expect(titles(page)).to_have_text(["Alpha holiday.mp4"])
    expect(page.get_by_role("heading", name="1 job")).to_be_visible()
    assert page.url.endswith("?q=holi")
    page.get_by_label("Find by name").fill("")
    page.get_by_role("link", name="Queued").click()
    expect(titles(page)).to_have_text(list(reversed(TITLES)))

    page.get_by_label("Select Alpha").check()
    page.get_by_label("Select Gamma").check()
    expect(page.locator("#bulk-count")).to_have_text("2 selected")
    page.get_by_label("Tag to add").fill("Spring")
    page.get_by_role("button", name="Add tag").click()
    expect(page.locator(".job .tag").filter(has_text="spring")).to_have_count(2)
    page.get_by_role("button", name="Archive", exact=True).click()
    expect(titles(page)).to_have_text(["Beta interview.mp4"])  # the live list has left them out
    page.get_by_label("Archived too").check()
    page.locator(".job .tag").filter(has_text="spring").first.click()
    expect(choice(page, "Tag")).to_have_value("spring")
    expect(titles(page)).to_have_text(["Gamma trailer.mp4", "Alpha holiday.mp4"])
    found = system.get("/api/jobs?tag=spring&include_archived=1&state=QUEUED")
    assert found["total"] == 2

    page.get_by_label("Select Gamma").check()
    page.get_by_role("button", name="Delete…").click()
    expect(page.get_by_role("dialog")).to_contain_text("Delete 1 job?")
    page.get_by_role("button", name="Keep").click()
    expect(titles(page)).to_have_count(2)
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(titles(page)).to_have_text(["Alpha holiday.mp4"])
    assert local_http.get(f"{system.url}/api/jobs/{shelf['Gamma']}", timeout=10).status_code == 410


def test_a_refusal_stands_in_its_own_words_beside_what_was_clicked(
    page: Page, system: System, dub: Dub, problems: list[str]
) -> None:
    page.goto(f"{system.url}/ui/jobs")
    page.locator(f"[data-pick='{dub.id}']").check()
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator("#bulk-message")).to_contain_text(f"0 of 1 job done. {dub.job['title']}: ")
    assert "409" in problems.pop()
    page.goto(f"{system.url}/ui/jobs/{dub.id}")
    page.get_by_label("New tag").fill("x" * 33)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("[data-message=keeping]")).to_contain_text("a tag has 1 to 32 characters")
    assert "422" in problems.pop()


def test_a_job_is_kept_in_order_and_looked_back_at_on_its_own_page(page: Page, system: System, dub: Dub) -> None:
    page.goto(f"{system.url}/ui/jobs/{dub.id}")
    page.get_by_label("New tag").fill("Winter, Best")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#keeping .tag")).to_have_text(["winter", "best"])
    page.get_by_role("button", name="Remove the tag winter").click()
    expect(page.locator("#keeping .tag")).to_have_text(["best"])
    page.get_by_role("button", name="Share with everybody here").click()
    expect(page.get_by_role("button", name="Make it private")).to_be_visible()
    page.get_by_role("button", name="Archive", exact=True).click()
    page.get_by_role("button", name="Unarchive", exact=True).click()
    expect(page.get_by_role("button", name="Archive", exact=True)).to_be_visible()

    page.get_by_text("History", exact=True).click()
    entries = page.locator("#history li")
    expect(entries.filter(has_text="Taken out of the archive").first).to_be_visible()
    expect(entries.last).to_contain_text(f"Submitted: {dub.job['title']}")
    page.get_by_text("Log", exact=True).click()
    expect(page.locator("#log")).to_contain_text("audio")
    page.get_by_role("link", name="As it was after: Started").click()
    expect(page.locator(".then")).to_contain_text("As it was on")
    expect(page.locator("#status .badge")).to_have_text("Running")
    expect(page.locator("#history li[aria-current]")).to_contain_text("Started")
    expect(page.locator("main button")).to_have_count(0)
    page.get_by_role("link", name="Show it as it is now").click()
    expect(page.locator("#status .badge")).to_have_text("Done")
    page.get_by_role("button", name="Make it private").click()
    page.get_by_role("button", name="Remove the tag best").click()  # others use this job, too
    expect(page.locator("#keeping")).to_contain_text("only its owner")
    expect(page.locator("#keeping .tag")).to_have_count(0)


def test_everything_is_named_and_works_by_keyboard(
    page: Page, system: System, shelf: dict[str, str], problems: list[str]
) -> None:
    """It takes Beta away."""
    page.goto(f"{system.url}/ui/jobs")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    order = [tab_to(page, f"[name={name}]") for name in ("file", "src_lang", "tgt_lang", "mode")]
    tab_to(page, "#find [name=q]")
    page.keyboard.type("beta")
    expect(titles(page)).to_have_text(["Beta interview.mp4"])
    order.append(tab_to(page, f"[data-pick='{shelf['Beta']}']"))
    page.keyboard.press("Space")
    assert page.evaluate(UNNAMED) == []
    tab_to(page, "[data-bulk=pause]", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".job .badge")).to_have_text("Paused")
    tab_to(page, f"[href='/ui/jobs/{shelf['Beta']}']")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/ui/jobs/{shelf['Beta']}")
    tab_to(page, "#new-tag")
    page.keyboard.type("typed")
    page.keyboard.press("Enter")
    expect(page.locator("#keeping .tag")).to_have_text(["typed"])
    expect(page.locator("#new-tag")).to_be_focused()
    assert page.evaluate(UNNAMED) == []
    tab_to(page, "#keeping .danger")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Keep")).to_be_focused()
    expect(page.get_by_role("dialog")).to_contain_text("Delete “Beta interview.mp4”?")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("#keeping .danger")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui/jobs")
    expect(titles(page).filter(has_text="Beta")).to_have_count(0)
    assert len(set(order)) == len(order)

    answer = page.goto(f"{system.url}/ui/jobs/{shelf['Beta']}")
    assert answer
    assert answer.status == 410
    expect(page.get_by_role("heading", name="Beta interview.mp4 was deleted")).to_be_visible()
    expect(page.locator(".history li").first).to_contain_text("Deleted")
    assert "410" in problems.pop()


def tab_to(page: Page, selector: str, key: str = "Tab") -> int:
    """Press a key until the focus is on an element, and return how far down the document it is."""
    for _ in range(TABS_MAX):
        page.keyboard.press(key)
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            visible = "() => getComputedStyle(document.activeElement.closest('.drop') ?? document.activeElement)"
            assert page.evaluate(f"({visible})().outlineStyle") != "none", selector
            return int(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    raise AssertionError(f"the keyboard does not reach {selector}")


def test_an_upload_uses_a_project_and_its_preset(
    page: Page, system: System, dub: Dub, shelf: dict[str, str], tmp_path: Path
) -> None:
    page.goto(f"{system.url}/ui/projects")
    preset = page.get_by_role("form", name="New preset")
    preset.get_by_role("textbox", name="Name").fill("Quick Portuguese")
    choice(preset, "From").select_option("en")
    choice(preset, "To").select_option("pt")
    choice(preset, "Mode").select_option("low")
    preset.get_by_role("button").click()
    expect(page.locator("#presets")).to_contain_text("Quick Portuguese")
    project = page.get_by_role("form", name="New project")
    project.get_by_role("textbox", name="Name").fill("Season one")
    choice(project, "Preset").select_option(label="Quick Portuguese")
    project.get_by_role("button").click()
    made = page.locator("#projects li").filter(has_text="Season one")
    expect(made).to_contain_text("preset Quick Portuguese")
    assert page.evaluate(UNNAMED) == []

    page.goto(f"{system.url}/ui/jobs")
    page.locator("input[name=file]").set_input_files(another_copy(tmp_path, 610))
    expect(page.locator("select[name=tgt_lang]")).to_be_visible()
    page.get_by_text("Project, preset and tags").click()
    choice(page.locator("#submit"), "Project").select_option("Season one")
    expect(page.locator("#submit select[name=mode]")).to_have_value("low")
    expect(page.locator("#submit select[name=tgt_lang]")).to_have_value("pt")
    page.locator("#submit").get_by_label("Tags").fill("news, 2026")
    page.get_by_role("button", name="Dub it").click()
    page.wait_for_url("**/ui/jobs/**", timeout=30_000)
    expect(page.locator("#keeping .tag")).to_have_text(["news", "2026"])
    expect(page.locator("#keeping")).to_contain_text("Season one")
    job = system.get(f"/api/jobs/{page.url.rsplit('/', 1)[-1]}")
    assert (job["mode"], job["src_lang"], job["project_name"]) == ("low", "en", "Season one")
    assert job["preset_id"]

    page.goto(f"{system.url}/ui/projects")
    page.get_by_role("button", name="Delete Season one").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(made).to_have_count(0)
    page.get_by_role("button", name="Delete Quick Portuguese").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("#no-preset")).to_be_visible()


def test_a_webhook_is_made_tried_and_taken_away(page: Page, system: System, dub: Dub, problems: list[str]) -> None:
    page.goto(f"{system.url}/ui/webhooks")
    form = page.get_by_role("form", name="New webhook")
    form.get_by_label("Address").fill("https://10.0.0.1/hook")
    form.get_by_role("button").click()
    expect(form.locator(".message")).to_contain_text("The host has an address that is not public.")
    assert "422" in problems.pop()
    form.get_by_label("Address").fill("https://dubline.invalid/hook")
    form.get_by_role("button").click()
    secret = page.get_by_role("dialog", name="The webhook's secret")
    expect(secret.get_by_label("Secret")).to_have_value(SECRET)
    expect(secret).to_contain_text("does not resolve")
    page.get_by_role("button", name="I have kept it").click()
    row = page.locator("#hooks li")
    expect(row).to_contain_text("job.completed, job.failed, job.canceled")
    assert "whsec_" not in page.content()
    assert page.evaluate(UNNAMED) == []
    row.get_by_role("button", name="Send a test").click()
    expect(row).to_contain_text("last: webhook.test", timeout=20_000)
    row.get_by_role("link").click()
    expect(page.locator("#deliveries li.hook")).to_contain_text("no answer", timeout=20_000)
    page.get_by_role("button", name="Send again").click()
    page.get_by_role("button", name="Disable").click()
    expect(page.locator("#hook .badge")).to_have_text("Disabled")
    page.get_by_role("button", name="New secret…").click()
    page.get_by_role("dialog").get_by_role("button", name="New secret").click()
    expect(secret.get_by_label("Secret")).to_have_value(SECRET)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.wait_for_url("**/ui/webhooks")
    expect(page.locator("#no-hook")).to_be_visible()
