"""The pages as they are sent, without a browser: the one filter, rows that lack members, the past, deleted jobs."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from shared.events.library import (
    JobArchived,
    JobDeleted,
    JobTagged,
    PresetSaved,
    ProjectSaved,
    WebhookSaved,
)
from shared.events.types import JobCanceled
from shared.identity import uuid7
from tests.factories import NOW, event, submitted
from tests.integration.library.serving import Served, serving
from tests.unit.library.stories import whole_story

EVIL = '"><img src=x onerror=alert(1)>'
PROJECT, PRESET, HOOK = "proj_0123456789abcdef", "preset_0123456789abcdef", "hook_0123456789abcdef"
DELETED = {"owner": "local", "base_dir": "film", "source": "uploads/up_1.mp4"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("pages")) as running:
        yield running


def listed(served: Served, **asked: Any) -> list[str]:
    page = served.get("/ui/jobs", **asked)
    assert page.status_code == 200
    return re.findall(r'<li class="card job[^"]*" id="job-([^"]+)"', page.text)


@pytest.fixture(scope="module")
def ids(served: Served) -> list[str]:
    """Thirty jobs, oldest first. Of the newest four one is in a project, one tagged, one archived, one cancelled."""
    made = [uuid7() for _ in range(30)]
    served.append(*(submitted(job_id, title=f"film {number}.mp4") for number, job_id in enumerate(made[:-1])))
    served.append(
        submitted(made[-1], title="serial.mp4", project_id=PROJECT, project_name=EVIL),
        event(JobTagged, made[-2], tags=[EVIL]),
        event(JobArchived, made[-3]),
        event(JobCanceled, made[-4]),
    )
    return made


def test_v8_the_page_uses_the_filter_of_the_api_and_its_exact_total(served: Served, ids: list[str]) -> None:
    filters: list[dict[str, Any]] = [
        {}, {"state": "CANCELED"}, {"q": "film 2"}, {"project": EVIL}, {"tag": EVIL.upper()}, {"mode": "high"},
        {"include_archived": "1"}, {"q": "", "state": "", "tag": ""}, {"q": "nothing like it"},
    ]  # fmt: skip
    for asked in filters:
        found = served.get("/api/jobs", **asked).json()
        assert listed(served, **asked) == [job["id"] for job in found["items"]], asked
        assert f'aria-live="polite">{found["total"]} job' in served.get("/ui/jobs", **asked).text, asked


def test_older_jobs_are_reached_under_the_filter(served: Served, ids: list[str]) -> None:
    first = served.get("/ui/jobs", q="film")
    older = re.search(r'href="([^"]+)" rel="next"', first.text)
    assert older
    assert "q=film" in older[1]
    path = older[1].replace("&amp;", "&")
    rest = re.findall(r'id="job-([^"]+)"', served.get(path).text)
    assert listed(served, q="film") + rest == [job_id for job_id in reversed(ids[:-1]) if job_id != ids[-3]]


@pytest.mark.parametrize("query", ["state=GONE", "cursor=x", "limit=0", "q=" + "x" * 201])
def test_an_address_that_asks_for_nonsense_gets_a_page_that_says_so(served: Served, query: str) -> None:
    answer = served.get(f"/ui/jobs?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "text/html; charset=utf-8")
    assert "Start again from the whole list" in answer.text


def test_what_people_wrote_is_text_on_every_page(served: Served, ids: list[str]) -> None:
    saved = {"owner": "local", "created_at": NOW}
    served.append(
        event(ProjectSaved, PROJECT, name=EVIL, **saved),
        event(PresetSaved, PRESET, name=EVIL, tgt_lang="pt", profile={"asr_model": EVIL, EVIL: 1}, **saved),
        event(WebhookSaved, HOOK, url="https://example.org", description=EVIL, **saved),
    )
    paths = ["/ui/jobs", f"/ui/jobs?q={EVIL}&tag={EVIL}&project={EVIL}", "/ui/projects", "/ui/webhooks"]
    paths += ["/ui/settings", "/ui/admin/limits", f"/ui/admin/users/{quote(EVIL)}/settings"]
    paths += [f"/ui/jobs/{ids[-1]}", f"/ui/jobs/{ids[-2]}?history=true"]
    for path in paths:
        page = served.get(path)
        assert page.status_code == 200, path
        assert "<img src=x" not in page.text, path
        assert "default-src 'self'" in page.headers["content-security-policy"], path
        assert not re.search(r"<script>| style=| on\w+=\"", page.text), path
    assert "onerror" in served.get("/ui/projects").text


def test_a_row_of_a_foreign_writer_is_shown_as_far_as_it_goes(served: Served) -> None:
    served.store.jobs["foreign"] = {"id": "foreign", "state": "SOMETHING", "tags": None}
    try:
        assert listed(served, q="foreign") == ["foreign"]
        assert served.get("/ui/jobs/foreign").status_code == 200
    finally:
        del served.store.jobs["foreign"]


def test_a_jobs_page_tells_its_history_and_shows_it_as_it_was(served: Served) -> None:
    job_id = uuid7()
    sequences = served.append(*whole_story(job_id))
    assert "Extract audio: done with e" not in served.get(f"/ui/jobs/{job_id}").text
    page = served.get(f"/ui/jobs/{job_id}", history="true").text
    assert "Extract audio: done with e" in page
    assert page.count(">as it was</a>") == len(sequences)
    then = served.get(f"/ui/jobs/{job_id}", at=str(sequences[1])).text
    assert "As it was on" in then
    assert "<button" not in then
    assert served.get(f"/ui/jobs/{job_id}", at="yesterday").status_code == 422
    assert served.get(f"/ui/jobs/{job_id}", at="1970-01-01T00:00:00Z").status_code == 404
    served.connected = False
    try:
        assert "the event log does not answer" in served.get(f"/ui/jobs/{job_id}", history="true").text
    finally:
        served.connected = True


def test_the_page_of_a_deleted_job_says_so_and_keeps_its_past(served: Served) -> None:
    job_id = uuid7()
    served.append(submitted(job_id, title="gone.mp4"), event(JobCanceled, job_id), event(JobDeleted, job_id, **DELETED))
    page = served.get(f"/ui/jobs/{job_id}")
    assert page.status_code == 410
    assert "<bdi>gone.mp4</bdi> was deleted" in page.text
    assert "Submitted: gone.mp4" in page.text
    served.connected = False
    try:
        assert served.get(f"/ui/jobs/{job_id}").status_code == 404  # nobody can tell now
    finally:
        served.connected = True
