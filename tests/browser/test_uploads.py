"""Uploads in a real browser: through a cut, a pause and a reload, several at once, and what stands beside them."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Opener
from tests.browser.people import new_person, sign_in
from tests.browser.test_library import UNNAMED
from tests.dubbing_system import System, another_copy

CHUNK = 1 << 20
JOB_PAGE = re.compile(r"/ui/jobs/[0-9a-f-]{36}$")
SAID = "1\n00:00:01,000 --> 00:00:03,500\nWhat was said.\n"
TRANSLATED = "1\n00:00:01,000 --> 00:00:03,500\nO que foi dito.\n"
NOT_RUN = "imported with the submission, not run"


pytestmark = pytest.mark.usefixtures("nothing_starts")


@pytest.fixture
def library(page: Page, system: System) -> Page:
    page.goto(f"{system.url}/ui/jobs")
    expect(page.locator("select[name=tgt_lang]")).to_be_visible()
    page.locator("select[name=tgt_lang]").select_option("pt")
    return page


def small_pieces(page: Page) -> None:
    """Let tus send in pieces, so that an upload of a small file can be cut between two of them."""
    page.evaluate(f"tus.defaultOptions.chunkSize = {CHUNK}")


def test_an_upload_goes_on_after_a_cut_and_after_a_reload(
    library: Page, system: System, tmp_path: Path, problems: list[str]
) -> None:
    film = tmp_path / "long film.mp4"
    film.write_bytes(another_copy(tmp_path, 820).read_bytes() + b"\0" * (4 * CHUNK))
    sent: list[tuple[str, int]] = []
    patches = 0

    def between(route: Route) -> None:
        nonlocal patches
        request = route.request
        if request.method == "PATCH":
            patches += 1
            offset = int(request.headers["upload-offset"])
            sent.append((request.url, offset))
            if patches == 2 or offset >= 2 * CHUNK:  # one cut that is tried again, then a line that stays dead
                route.abort("connectionreset")
                return
        route.continue_()

    library.route("**/api/uploads/tus/**", between)
    small_pieces(library)
    library.locator("input[name=file]").set_input_files(film)
    row = library.locator("#sources li")
    expect(row).to_contain_text("long film.mp4")
    library.get_by_role("button", name="Dub it").click()
    library.wait_for_function("() => document.querySelector('#sources [data-bar]').value > 0.2")
    expect.set_options(timeout=10_000)
    while not any(offset >= 2 * CHUNK for _, offset in sent):
        library.wait_for_timeout(100)
    library.get_by_role("button", name="Pause with long film.mp4").click()
    expect(row).to_contain_text("Paused")
    assert library.evaluate(UNNAMED) == []
    library.unroute("**/api/uploads/tus/**")

    library.on("dialog", lambda dialog: dialog.accept())
    library.reload()
    expect(library.locator("#unfinished")).to_contain_text("long film.mp4")
    resumed: list[int] = []
    library.on(
        "request",
        lambda request: resumed.append(int(request.headers["upload-offset"])) if request.method == "PATCH" else None,
    )
    library.locator("select[name=tgt_lang]").select_option("pt")
    library.locator("input[name=file]").set_input_files(film)
    library.get_by_role("button", name="Dub it").click()
    library.wait_for_url(JOB_PAGE, timeout=30_000)
    assert resumed[0] >= 2 * CHUNK  # what had arrived was not sent again
    assert {url for url, _ in sent} == {sent[0][0]}
    job = system.get(f"/api/jobs/{library.url.rsplit('/', 1)[-1]}")
    assert job["title"] == "long film.mp4"
    library.goto(f"{system.url}/ui/jobs")
    expect(library.locator("#unfinished")).to_be_hidden()
    problems[:] = [problem for problem in problems if "ERR_CONNECTION_RESET" not in problem]


def test_several_videos_become_a_job_each_and_an_estimate_comes_first(
    library: Page, system: System, tmp_path: Path
) -> None:
    films = [another_copy(tmp_path, number) for number in (830, 831)]
    library.locator("input[name=file]").set_input_files(films)
    expect(library.locator("#sources li")).to_have_count(2)
    expect(library.locator("#estimate")).to_contain_text("Takes about", timeout=15_000)
    assert library.evaluate(UNNAMED) == []
    library.get_by_role("button", name="Dub it").click()
    expect(library.get_by_text("2 of 2 videos accepted.")).to_be_visible(timeout=30_000)
    expect(library.get_by_role("link", name="Accepted: its page")).to_have_count(2)
    for film in films:
        expect(library.locator(".job-title").filter(has_text=film.name)).to_be_visible()


def test_what_is_no_video_is_refused_in_its_row_and_can_be_taken_away(
    library: Page, tmp_path: Path, problems: list[str]
) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video at all\n" * 100)
    library.get_by_role("button", name="Dub it").click()
    expect(library.locator("#submit-message")).to_have_text("Choose a video first.")
    library.locator("input[name=file]").set_input_files(text)
    library.get_by_role("button", name="Dub it").click()
    expect(library.locator("#sources .error-text")).not_to_be_empty(timeout=15_000)
    assert "422" in problems.pop()
    library.get_by_role("button", name="Remove notes.mp4").click()
    expect(library.locator("#sources li")).to_have_count(0)


def test_a_video_of_the_servers_own_folder_is_taken_from_there(library: Page, system: System, tmp_path: Path) -> None:
    folder = system.standalone.layout.input / "films"
    folder.mkdir(parents=True, exist_ok=True)
    another_copy(tmp_path, 840).rename(folder / "from the server.mp4")
    library.get_by_text("Take videos from the server's own folder").click()
    library.get_by_role("button", name="films/").click()
    library.get_by_role("button", name="from the server.mp4").click()
    library.get_by_role("button", name="Dub it").click()
    library.wait_for_url(JOB_PAGE, timeout=30_000)
    expect(library.get_by_role("heading", name="from the server.mp4")).to_be_visible()


def test_subtitles_that_one_has_are_sent_along_and_their_stages_are_not_run(
    library: Page, system: System, tmp_path: Path, problems: list[str]
) -> None:
    texts = {"said.srt": SAID, "translated.srt": TRANSLATED, "broken.srt": SAID.replace("00:00:03", "00:00:00")}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    library.locator("select[name=src_lang]").select_option("en")
    library.locator("input[name=file]").set_input_files(another_copy(tmp_path, 850))
    library.get_by_text("Subtitles or a transcript that you have").click()
    library.get_by_label("Subtitles of what is said").set_input_files(tmp_path / "broken.srt")
    library.get_by_role("button", name="Dub it").click()
    expect(library.locator("#sources .error-text")).to_contain_text("line 2", ignore_case=True, timeout=15_000)
    assert "422" in problems.pop()

    library.get_by_label("Subtitles of what is said").set_input_files(tmp_path / "said.srt")
    library.get_by_label("Subtitles in the other language").set_input_files(tmp_path / "translated.srt")
    library.get_by_role("button", name="Dub it").click()
    library.wait_for_url(JOB_PAGE, timeout=30_000)
    for name in ("Transcribe", "Translate"):
        expect(library.locator(".stage.is-done").filter(has_text=name)).to_contain_text(NOT_RUN)
    expect(library.locator(".stage").filter(has_text=NOT_RUN)).to_have_count(2)
    stages = {stage["stage"]: stage for stage in system.get(f"/api/jobs/{library.url.rsplit('/', 1)[-1]}")["stages"]}
    assert {name for name, stage in stages.items() if stage["reused_from"] == "import"} == {"transcribe", "translate"}
    assert stages["tts"]["status"] == "pending"


def test_a_private_dub_says_so_and_not_what_its_file_is_called(library: Page, system: System, tmp_path: Path) -> None:
    film = another_copy(tmp_path, 840)
    library.get_by_text("What is kept of it").click()
    library.get_by_label("Private", exact=True).check()
    library.locator("select[name=cache_policy]").select_option("Results only")
    assert library.evaluate(UNNAMED) == []
    library.locator("input[name=file]").set_input_files(film)
    library.get_by_role("button", name="Dub it").click()
    library.wait_for_url(JOB_PAGE, timeout=30_000)
    expect(library.get_by_role("heading", level=1)).to_have_text(re.compile(r"^private-[0-9a-f]{8}$"))
    expect(library.locator("#keeping")).to_contain_text("results only, without its name")
    assert film.name not in library.content()
    assert system.get(f"/api/jobs/{library.url.rsplit('/', 1)[-1]}")["keeping"]["private"]


def test_an_upload_goes_on_when_another_page_of_the_browser_proves_who_it_is(
    opened: Opener, system: System, tmp_path: Path, problems: list[str]
) -> None:
    """The proof gives the session another cookie and token; the upload has the old token when it is asked again."""
    person, page = new_person(system, "operator"), opened()
    sign_in(page, system, person)
    other = page.context.new_page()
    other.goto(f"{system.url}/ui/account")
    film = tmp_path / "long film.mp4"
    film.write_bytes(another_copy(tmp_path, 860).read_bytes() + b"\0" * (4 * CHUNK))
    held: list[Route] = []

    def between(route: Route) -> None:
        late = route.request.method == "PATCH" and int(route.request.headers["upload-offset"]) >= 2 * CHUNK
        if late and not held:
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/uploads/tus/**", between)
    small_pieces(page)
    page.locator("select[name=tgt_lang]").select_option("pt")
    page.locator("input[name=file]").set_input_files(film)
    page.get_by_role("button", name="Dub it").click()
    while not held:
        page.wait_for_timeout(100)
    before = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    other.evaluate(
        """async (password) => {
            const { call } = await import("/static/api.js");
            await call("/api/auth/confirm", "POST", { password });
        }""",
        person.password,
    )
    assert before != {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    held[0].continue_()
    page.wait_for_url(JOB_PAGE, timeout=30_000)
    assert "403" in problems.pop()
