"""GET /api/jobs among more than ten thousand jobs: filters, exact totals, pages, tags of answers, HEAD."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlitedict import SqliteDict

from services.library.routes import examples
from tests.integration.library.serving import Served, serving

JOBS = 10_050
FIRST_MS = 1_700_000_000_000


def job_id(number: int) -> str:
    return f"0190{number:04x}-0000-7000-8000-{number:012x}"


def job(number: int) -> dict[str, Any]:
    """Every 10th is archived; every 100th belongs to "Season 1"; every 7th has failed; every 50th is tagged."""
    return examples.JOB | {
        "id": job_id(number),
        "seq": number + 1,
        "title": f"video {number:05}.mp4",
        "project_name": "Season 1" if number % 100 == 1 else "Other",
        "tags": ["to check"] if number % 50 == 1 else [],
        "archived": number % 10 == 0,
        "state": "FAILED" if number % 7 == 0 else "DONE",
        "mode": "low" if number % 3 == 0 else "high",
        "created_at": f"2026-01-{1 + number // 1000:02}T{number // 60 % 24:02}:{number % 60:02}:00.000Z",
    }


def newest_first(numbers: Any) -> list[str]:
    rows = [job(number) for number in numbers]
    return [row["id"] for row in sorted(rows, key=lambda row: (row["created_at"], row["seq"]), reverse=True)]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("many")) as served:
        with served.store.bulk():
            served.store.jobs.update((job_id(number), job(number)) for number in range(JOBS))
        yield served


def ids(page: dict[str, Any]) -> list[str]:
    return [item["id"] for item in page["items"]]


def test_v8_the_total_is_exact_the_last_page_is_there_and_the_oldest_is_found(many: Served) -> None:
    everything = newest_first(range(JOBS))
    page = many.get("/api/jobs", include_archived=1, limit=200).json()
    assert page["total"] == JOBS
    assert ids(page) == everything[:200]
    last = many.get("/api/jobs", include_archived=1, limit=200, offset=JOBS - 50).json()
    assert (ids(last), last["total"]) == (everything[-50:], JOBS)
    assert (last["next_offset"], last["next_cursor"]) == (None, None)
    oldest = many.get("/api/jobs", q="VIDEO 00001.mp4").json()
    assert (ids(oldest), oldest["total"]) == ([job_id(1)], 1)


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ({}, lambda n: n % 10),
        ({"include_archived": "true"}, lambda _: True),
        ({"include_archived": "false"}, lambda n: n % 10),
        ({"include_archived": 0}, lambda n: n % 10),
        ({"state": "FAILED"}, lambda n: n % 7 == 0 and n % 10),
        ({"status": "FAILED"}, lambda n: n % 7 == 0 and n % 10),
        ({"status": "FAILED", "state": "FAILED"}, lambda n: n % 7 == 0 and n % 10),
        ({"project": "season"}, lambda n: n % 100 == 1),
        ({"mode": "low"}, lambda n: n % 3 == 0 and n % 10),
        ({"tag": "To Check"}, lambda n: n % 50 == 1),
        ({"tag": "check"}, lambda _: False),
        ({"q": "season"}, lambda n: n % 100 == 1),
        ({"q": "season", "state": "FAILED", "mode": "low"}, lambda n: n % 100 == 1 and n % 21 == 0),
        ({"state": "", "status": "", "q": "", "project": "", "mode": "", "tag": ""}, lambda n: n % 10),
        ({"view": "mine", "_": "123"}, lambda n: n % 10),
    ],
)  # fmt: skip
def test_filters(many: Served, parameters: dict[str, Any], wanted: Any) -> None:
    expected = newest_first(number for number in range(JOBS) if wanted(number))
    page = many.get("/api/jobs", limit=40, **parameters).json()
    assert (page["total"], ids(page)) == (len(expected), expected[:40])


def test_a_cursor_goes_through_a_filter_to_its_end(many: Served) -> None:
    expected = newest_first(number for number in range(JOBS) if number % 100 == 1)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = many.get("/api/jobs", limit=30, project="season", **cursor).json()
        assert (page["total"], page["offset"]) == (len(expected), 0)
        seen += ids(page)
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == expected


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=x", "limit=", "offset=-1", "offset=99999999999999999999", "state=GONE",
     "state=DONE&status=FAILED", "mode=best", "include_archived=2", "q=" + "x" * 201, "tag=" + "x" * 33, "cursor=x",
     "cursor=%C3%A9", "cursor=djE6LTE", "cursor=", "cursor=1f069b7d8c1e30000"],
)  # fmt: skip
def test_bad_parameters_are_problems(many: Served, query: str) -> None:
    answer = many.get(f"/api/jobs?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["code"] == "invalid_request"


def test_texts_that_mean_something_elsewhere_are_only_texts_here(many: Served) -> None:
    for text in ("%", "_____", "'", '"', "\\", "a OR b", "NEAR(", "*", "\x00", "\ufffd", "-", "ß", "İ", "  "):
        answer = many.get("/api/jobs", q=text, project=text, tag=text[:32])
        assert answer.status_code == 200, text


def test_a_client_that_has_the_page_gets_no_body_until_anybody_changes_a_row(many: Served) -> None:
    path = "/api/jobs?limit=7&include_archived=1"
    first = many.get(path)
    assert first.headers["cache-control"] == "private, no-cache"
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        again = many.get(path, {"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert many.get(path, {"If-None-Match": '"other"'}).status_code == 200
    newest = first.json()["items"][0]
    codec: dict[str, Any] = {"encode": json.dumps, "decode": json.loads, "journal_mode": "WAL", "autocommit": True}
    with SqliteDict(str(many.layout.jobs_db), "jobs", **codec) as theirs:
        theirs[newest["id"]] = newest | {"title": "renamed"}
    changed = many.get(path, {"If-None-Match": tag})
    assert (changed.status_code, changed.json()["items"][0]["title"]) == (200, "renamed")
    with SqliteDict(str(many.layout.jobs_db), "jobs", **codec) as theirs:
        theirs[newest["id"]] = newest
    assert many.get(path).headers["etag"] != changed.headers["etag"]


def test_the_route_and_the_lane_before_it_give_the_same_answer(many: Served) -> None:
    lane = many.get("/api/jobs?limit=3&q=video")
    route = many.ask("HEAD", "/api/jobs?limit=3&q=video")
    kept = ("etag", "content-length", "content-type", "cache-control")
    assert [lane.headers[name] for name in kept] == [route.headers[name] for name in kept]
    assert (route.status_code, route.content) == (200, b"")
    same = many.ask("HEAD", "/api/jobs?limit=3&q=video", {"If-None-Match": lane.headers["etag"]})
    assert same.status_code == 304
