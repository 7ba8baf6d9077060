"""Dubbing in a real browser: a person drops a video, sees it move through its stages, plays and seeks the result."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Response, expect

from tests.browser.conftest import limit
from tests.dubbed_sample import Dub
from tests.dubbing_system import System, another_copy

JOB_TIMEOUT_MS = 240_000


def test_the_result_plays_and_seeks_with_subtitles(page: Page, dub: Dub) -> None:
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer) if "/files/" in answer.url else None)
    page.goto(f"{dub.system.url}/ui/jobs/{dub.id}")
    video = page.locator("video")
    expect(video).to_be_visible()
    state = video.evaluate(
        """async (video) => {
            video.muted = true;
            await video.play();
            await new Promise((resolve) => video.addEventListener('timeupdate', resolve, {once: true}));
            video.pause();
            video.currentTime = 9;
            await new Promise((resolve) => video.addEventListener('seeked', resolve, {once: true}));
            return {time: video.currentTime, duration: video.duration, tracks: video.textTracks.length};
        }"""
    )
    assert state == {"time": 9, "duration": pytest.approx(23.8, abs=0.1), "tracks": 2}
    ranges = [answer for answer in answers if answer.url.endswith(".mp4")]
    assert {answer.status for answer in ranges} == {206}
    assert all(answer.headers["content-range"].startswith("bytes ") for answer in ranges)
    for kind in ("Video, dubbed and original sound", "Dubbed video, plays anywhere", "Portuguese subtitles"):
        expect(page.get_by_role("link", name=kind).first).to_be_visible()
    for stage in ("Extract audio", "Transcribe", "Translate", "Speak", "Mix", "Write video"):
        expect(page.get_by_text(stage, exact=True)).to_be_visible()
    expect(page.get_by_text("Done").first).to_be_visible()


def test_a_dropped_video_is_dubbed_before_the_users_eyes(page: Page, system: System, dub: Dub, tmp_path: Path) -> None:
    page.goto(system.url)
    page.locator("input[name=file]").set_input_files(another_copy(tmp_path, 77))
    page.locator("select[name=tgt_lang]").select_option("pt")
    page.get_by_role("button", name="Dub it").click()
    page.wait_for_url("**/ui/jobs/**", timeout=30_000)
    expect(page.get_by_text("Running").first).to_be_visible(timeout=30_000)
    bar = page.locator("#status progress.bar")
    seen = [bar.evaluate("bar => bar.value")]
    for _ in range(2):
        moved = "before => document.querySelector('#status progress.bar').value > before"
        page.wait_for_function(moved, arg=seen[-1], timeout=JOB_TIMEOUT_MS)
        seen.append(bar.evaluate("bar => bar.value"))
    assert seen == sorted(set(seen))
    assert all(0 <= value < 1 for value in seen)
    expect(page.get_by_text("Done").first).to_be_visible(timeout=JOB_TIMEOUT_MS)
    expect(page.locator("video")).to_be_visible(timeout=30_000)


@pytest.fixture
def held(system: System, tmp_path: Path) -> Iterator[str]:
    """A job that waits because nothing may start."""
    limit(system, 0)
    try:
        yield system.submit("pt", another_copy(tmp_path, 78))
    finally:
        limit(system, None)


def test_a_job_says_why_it_waits_and_its_buttons_do_what_they_say(page: Page, system: System, held: str) -> None:
    system.until(held, lambda job: job["state"] == "QUEUED")
    page.goto(f"{system.url}/ui/jobs")
    expect(page.locator(f"[data-why='{held}']")).to_contain_text("jobs are running", timeout=30_000)
    page.goto(f"{system.url}/ui/jobs/{held}")
    expect(page.locator("[data-why]")).to_contain_text("Place 1 of 1", timeout=30_000)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#status .badge")).to_have_text("Paused", timeout=30_000)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#status .badge")).to_have_text("Queued", timeout=30_000)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#status .badge")).to_have_text("Canceled", timeout=30_000)
    page.get_by_role("button", name="Run again").click()
    expect(page.locator("#status .badge")).to_have_text("Queued", timeout=30_000)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Run again")).to_be_visible(timeout=30_000)


def test_a_running_job_pauses_goes_on_and_can_be_killed_from_its_page(
    page: Page, system: System, tmp_path: Path
) -> None:
    job = system.submit("pt", another_copy(tmp_path, 79))
    page.goto(f"{system.url}/ui/jobs/{job}")
    system.until(job, lambda job: job["state"] == "RUNNING")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#status .badge")).to_have_text("Paused", timeout=60_000)  # when its running stage has ended
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#status .badge")).to_have_text("Running", timeout=30_000)
    page.get_by_role("button", name="Kill").click()
    expect(page.locator("#status .badge")).to_have_text("Canceled", timeout=30_000)
