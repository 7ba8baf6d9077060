"""Every route over both parsers of HTTP: it answers as itself, HEAD as GET does, errors as problems (V3, V4)."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from shared.events.library import PresetSaved, ProjectSaved
from shared.identity import new_id
from tests.factories import NOW, event, submitted
from tests.integration.library.serving import Served, serving, until

JOB = "01890000-0000-7000-8000-000000000001"
ENDLESS = re.compile(r"/(events|stream)$")


@pytest.fixture(scope="module", params=["httptools", "h11"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp(request.param), parser=request.param) as running:
        running.append(submitted(JOB, tags=["a", "b"], project_name="Films"))
        yield running


def documented(served: Served) -> list[tuple[str, dict[str, Any]]]:
    paths = served.get("/api/library.json").json()["paths"]
    return [(path, operations["get"]) for path, operations in paths.items() if "get" in operations]


def test_v4_events_are_no_job(served: Served) -> None:
    with served.client.stream("GET", "/api/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
    answer = served.get("/api/jobs/nobody")
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


def test_v4_every_documented_path_is_reached_under_its_own_name(served: Served) -> None:
    """A path that another one hides would be answered with a status or a type that its own document does not know."""
    for path, operation in documented(served):
        filled = re.sub(r"\{(\w+)(:path)?\}", lambda found: JOB if found[1] == "job_id" else "x", path)
        with served.client.stream("GET", filled) as answer:
            kind = answer.headers["content-type"].split(";")[0]
            if ENDLESS.search(path) or path.startswith("/events/"):
                assert (answer.status_code, kind) == (200, "text/event-stream"), path
                continue
            answer.read()
            if path.startswith("/files/"):
                assert (answer.status_code, answer.json()["code"]) == (404, "file_not_found")
                continue
            told = operation["responses"].get(str(answer.status_code))
            assert told is not None, (path, answer.status_code)
            assert kind in told.get("content", [kind]), (path, kind)


def test_v3_pages_and_answers_pass_either_parser(served: Served) -> None:
    for path in ("/", "/ui/jobs", f"/ui/jobs/{JOB}", "/ui/jobs/none", "/api/jobs", f"/api/jobs/{JOB}", "/livez"):
        answer = served.get(path)
        assert answer.status_code in (200, 307, 404), path
        assert all(value == value.strip() for value in answer.headers.values()), path


def test_head_is_get_without_a_body(served: Served) -> None:
    for path in ("/api/jobs", f"/api/jobs/{JOB}", "/api/projects", "/api/presets", "/api/tags", "/api/library/stats",
                 "/livez", "/ui/jobs", f"/api/jobs/{JOB}/files", "/api/jobs/none"):  # fmt: skip
        got, head = served.get(path), served.ask("HEAD", path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        for name in ("content-type", "content-length", "etag", "cache-control"):
            assert head.headers.get(name) == got.headers.get(name), (path, name)


def test_head_of_an_endless_stream_ends(served: Served) -> None:
    until(lambda: len(served.library.hub) == 0)
    head = served.ask("HEAD", f"/api/jobs/{JOB}/events")
    assert (head.status_code, head.headers["content-type"].split(";")[0]) == (200, "text/event-stream")
    until(lambda: len(served.library.hub) == 0)


def test_writes_are_not_for_the_library(served: Served) -> None:
    for path in ("/api/jobs", f"/api/jobs/{JOB}", "/api/projects"):
        answer = served.ask("POST", path)
        assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")
        assert "GET" in answer.headers["allow"]


def test_a_rebound_name_is_refused(served: Served) -> None:
    answer = served.get("/api/jobs", {"Host": "evil.org"})
    assert (answer.status_code, answer.json()["code"]) == (403, "host_not_allowed")


def test_projects_presets_tags_and_stats(served: Served) -> None:
    project_id, preset_id = new_id("proj"), new_id("preset")
    last = served.append(
        event(ProjectSaved, project_id, owner="local", name="Zoo", output_subdir="zoo", created_at=NOW),
        event(PresetSaved, preset_id, owner="local", name="Fast", mode="low", created_at=NOW),
    )[-1]
    projects = served.get("/api/projects")
    assert [found["name"] for found in projects.json()["items"]] == ["Zoo"]
    assert served.get("/api/projects", {"If-None-Match": projects.headers["etag"]}).status_code == 304
    assert served.get(f"/api/projects/{project_id}").json() == projects.json()["items"][0]
    assert served.get(f"/api/presets/{preset_id}").json()["mode"] == "low"
    assert [found["id"] for found in served.get("/api/presets").json()["items"]] == [preset_id]
    for path in (f"/api/projects/{preset_id}", "/api/presets/none"):
        assert served.get(path).status_code == 404
    assert served.get("/api/tags").json() == {"items": [{"tag": "a", "n": 1}, {"tag": "b", "n": 1}]}
    until(lambda: served.library.hub.position == last)
    expected = {"counts": {"QUEUED": 1}, "total": 1, "position": last, "lag": 0, "quarantined": 0}
    assert served.get("/api/library/stats").json() == expected


def test_a_stream_manifest_is_answered_as_it_is_on_disk(served: Served) -> None:
    path = f"/api/jobs/{JOB}/stream/manifest"
    assert served.get(path).json()["code"] == "stream_not_found"
    file = served.layout.output / "film" / "stream" / "manifest.json"
    file.parent.mkdir(parents=True)
    for text, status in ((b'{"chunks": [1]}', 200), (b"[1]", 404), (b"{", 404)):
        file.write_bytes(text)
        answer: httpx.Response = served.get(path)
        assert answer.status_code == status
    file.unlink()
    file.symlink_to("/etc/passwd")
    assert served.get(path).status_code == 404
