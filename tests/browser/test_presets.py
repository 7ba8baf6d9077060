"""Presets and projects in a real browser: made, changed, refused at the field, used and deleted. Nothing is dubbed."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.test_library import UNNAMED, choice
from tests.browser.test_settings import submitted
from tests.browser.test_uploads import JOB_PAGE
from tests.dubbing_system import System, another_copy

pytestmark = pytest.mark.usefixtures("nothing_starts")


def number(form: Locator, name: str) -> Locator:
    return form.get_by_role("spinbutton", name=name, exact=True)


def new_preset(page: Page, name: str, mode: str) -> Locator:
    """Fill the form for a preset from English into Portuguese, all of it in sight, and return it."""
    form = page.get_by_role("form", name="New preset")
    form.locator("[name=name]").fill(name)
    choice(form, "From").select_option("en")
    choice(form, "To").select_option("pt")
    choice(form, "Mode").select_option(mode)
    form.get_by_text("Single settings and the voice").click()
    return form


def said_of(form: Locator, name: str) -> Locator:
    """Return what stands at a field because it was refused."""
    return form.locator(f"label:has([name={name}]) .error-text")


def listed(page: Page, kind: str, name: str) -> Locator:
    return page.locator(f"#{kind} li").filter(has_text=name)


def submit(page: Page, system: System, video: Path, name: str, value: str) -> Any:
    """Submit a video with a project or a preset, and return what the log keeps of it."""
    page.goto(f"{system.url}/ui/jobs")
    expect(page.locator("#submit select[name=tgt_lang]")).to_be_visible()
    page.locator("input[name=file]").set_input_files(video)
    page.get_by_text("Project, preset and tags").click()
    choice(page.locator("#submit"), name).select_option(value)
    page.get_by_role("button", name="Dub it").click()
    page.wait_for_url(JOB_PAGE, timeout=30_000)
    return submitted(system, page.url.rsplit("/", 1)[-1])


def delete(page: Page, system: System, *names: str) -> None:
    page.goto(f"{system.url}/ui/projects")
    for name in names:
        page.get_by_role("button", name=f"Delete {name}").click()
        page.get_by_role("button", name="Delete", exact=True).click()
        expect(page.locator("main li").filter(has_text=name)).to_have_count(0)


def test_a_preset_is_made_changed_used_and_deleted(page: Page, system: System, tmp_path: Path) -> None:
    page.goto(f"{system.url}/ui/projects")
    form = new_preset(page, "Careful", "high")
    choice(form, "Device").select_option("cpu")
    number(form, "Beams of the recogniser").fill("3")
    choice(form, "Original under the voice").select_option("legacy")
    form.get_by_label("Language of the voice").fill("pt")
    form.get_by_role("button", name="Make preset").click()
    row = listed(page, "presets", "Careful")
    expect(row).to_contain_text("high mode")
    expect(row).to_contain_text("Original under the voice: legacy")
    expect(form.locator("[name=name]")).to_have_value("")

    row.get_by_text("Change Careful").click()
    edit = row.locator("details.change form")
    expect(edit.locator("select[name=tgt_lang]")).to_have_value("pt")
    expect(number(edit, "Beams of the recogniser")).to_have_value("3")
    assert page.evaluate(UNNAMED) == []
    edit.locator("[name=name]").fill("Careful and quick")
    choice(edit, "Mode").select_option("low")
    number(edit, "Beams of the recogniser").fill("")
    choice(edit, "Prefer the fast voice").select_option("no")
    edit.get_by_role("button", name="Save").click()
    row = listed(page, "presets", "Careful and quick")
    expect(row).to_contain_text("low mode")
    expect(row).not_to_contain_text("Beams of the recogniser: ")
    expect(edit).to_be_hidden()
    expect(row.locator("summary").first).to_be_focused()
    (kept,) = [one for one in system.get("/api/presets")["items"] if one["name"] == "Careful and quick"]
    assert kept["profile"] == {"fast_voice": False, "mix": "legacy"}
    assert (kept["device"], kept["tts_lang"]) == ("cpu", "pt")

    data = submit(page, system, another_copy(tmp_path, 870), "Preset", "Careful and quick")
    assert (data["mode"], data["device"], data["tgt_lang"], data["overrides"]) == ("low", "cpu", "pt", kept["profile"])
    delete(page, system, "Careful and quick")


def test_a_name_that_is_none_is_refused_at_its_field(page: Page, system: System, problems: list[str]) -> None:
    page.goto(f"{system.url}/ui/projects")
    form = new_preset(page, "   ", "low")
    form.get_by_role("button", name="Make preset").click()
    name = form.locator("[name=name]")
    expect(said_of(form, "name")).to_have_text("A name has 1 to 120 characters.")
    expect(name).to_be_focused()
    assert "422" in problems.pop()
    name.fill("Something")
    form.get_by_role("button", name="Make preset").click()
    expect(listed(page, "presets", "Something")).to_be_visible()
    expect(form.locator(".error-text")).to_have_count(0)
    delete(page, system, "Something")


def test_a_setting_that_the_server_does_not_know_is_refused_at_its_field(
    page: Page, system: System, problems: list[str]
) -> None:
    """As from a page that was opened before an update."""
    page.goto(f"{system.url}/ui/projects")
    form = new_preset(page, "From another day", "low")
    model, beams = form.locator("[name=asr_model]"), form.locator("[name=asr_beam]")
    model.evaluate("(field) => field.append(new Option('a new one', '\"whisper-next\"', true, true))")
    beams.evaluate("(field) => Object.assign(field, { max: 99, value: 99 })")
    form.get_by_text("Single settings and the voice").click()
    form.get_by_role("button", name="Make preset").click()
    said = form.locator(".error-text")
    expect(said).to_have_count(2)
    expect(said_of(form, "asr_model")).to_contain_text("it can be 'whisper-large-v3'")
    expect(said_of(form, "asr_beam")).to_contain_text("it can be 1 to 10")
    expect(model).to_be_focused()
    expect(form.locator(".message")).to_have_text("Nothing was saved. See the marked field.")
    assert "422" in problems.pop()
    assert [one for one in system.get("/api/presets")["items"] if one["name"] == "From another day"] == []


def test_a_projects_preset_and_profile_are_changed_and_hold_for_its_next_job(
    page: Page, system: System, tmp_path: Path, problems: list[str]
) -> None:
    page.goto(f"{system.url}/ui/projects")
    preset = new_preset(page, "Plain", "low")
    choice(preset, "Original under the voice").select_option("enhanced")
    preset.get_by_role("button", name="Make preset").click()
    expect(listed(page, "presets", "Plain")).to_be_visible()
    form = page.get_by_role("form", name="New project")
    form.locator("[name=name]").fill("Series")
    form.get_by_text("Single settings").click()
    choice(form, "Original under the voice").select_option("legacy")
    form.get_by_role("button", name="Make project").click()
    row = listed(page, "projects", "Series")
    expect(row).to_contain_text("Original under the voice: legacy")
    form.locator("[name=name]").fill("series")
    form.get_by_role("button", name="Make project").click()
    expect(said_of(form, "name")).not_to_be_empty()
    assert "409" in problems.pop()

    row.get_by_text("Change Series").click()
    edit = row.locator("details.change form")
    choice(edit, "Preset").select_option("Plain")
    number(edit, "Beams of the recogniser").fill("2")
    edit.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("preset Plain")
    expect(row).to_contain_text("Beams of the recogniser: 2")
    assert page.evaluate(UNNAMED) == []

    data = submit(page, system, another_copy(tmp_path, 871), "Project", "Series")
    assert data["overrides"] == {"asr_beam": 2, "mix": "enhanced"}  # the preset is nearer than the project
    assert (data["project_name"], data["mode"]) == ("Series", "low")
    delete(page, system, "Series", "Plain")
