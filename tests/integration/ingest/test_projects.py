"""Projects and presets over HTTP: what they may be, what no two may share, and what a submission takes from them."""

# ruff: noqa: ASYNC212, ASYNC240 -- a test may wait for a small file or a quick answer

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.eventlog.jetstream import JetStreamEventLog
from shared.events.library import PresetDeleted, ProjectSaved
from shared.events.subjects import ALL_PRESETS, ALL_PROJECTS, job_filter, preset_subject, project_subject
from shared.events.types import JobSubmitted
from tests import local_http
from tests.integration.ingest.service import Ingest, in_thread

NO_PROJECT, NO_PRESET = "proj_0123456789abcdef", "preset_0123456789abcdef"


@pytest.fixture
def http(ingest: Ingest) -> Iterator[httpx.Client]:
    with ingest.client() as client:
        yield client


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert len(answer.json()["detail"]) > 20
    return answer.status_code, answer.json()["code"]


def preset(http: httpx.Client, **body: Any) -> str:
    answer = http.post("/api/presets", json={"name": "a preset"} | body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def head(log: JetStreamEventLog) -> int:
    last = await log.last()
    return last.seq if last else 0


async def test_a_project_is_made_changed_and_deleted(
    ingest: Ingest, http: httpx.Client, log: JetStreamEventLog
) -> None:
    made = http.post("/api/projects", json={"name": "  My   Films ", "output_subdir": "films/mine"})
    assert made.status_code == 201
    project = made.json()
    assert made.headers["location"] == f"/api/projects/{project['id']}"
    assert (project["name"], project["output_subdir"], project["default_preset_id"], project["owner_id"]) == (
        "My Films", "films/mine", None, "local",
    )  # fmt: skip
    assert project["created_at"] == project["updated_at"]
    assert (ingest.layout.output / "films" / "mine").is_dir()
    chosen = preset(http)
    path = f"/api/projects/{project['id']}"
    changed = http.put(path, json={"default_preset_id": chosen, "name": "My Films", "output_subdir": "films/mine"})
    assert (changed.status_code, changed.json()["default_preset_id"]) == (200, chosen)
    assert changed.json()["created_at"] == project["created_at"]
    before = await head(log)
    assert http.put(path, json={"default_preset_id": chosen}).json() == changed.json()
    assert await head(log) == before, "what is so already makes no event"
    assert http.delete(path).json() == {"ok": True, "id": project["id"]}
    assert code(http.delete(path)) == (404, "project_not_found")
    assert code(http.put(path, json={"default_preset_id": None})) == (404, "project_not_found")
    told = await log.read(project_subject(project["id"]))
    assert [record.event.type.split(".")[2] for record in told if record.event] == ["saved", "saved", "deleted"]
    again = http.post("/api/projects", json={"name": "My Films", "output_subdir": "films/mine"})
    assert again.status_code == 201, "name and directory are free again"


def test_a_projects_name_and_directory_never_change(http: httpx.Client) -> None:
    project = http.post("/api/projects", json={"name": "Fixed"}).json()
    for change in ({"name": "Other"}, {"output_subdir": "other"}, {"output_subdir": ""}):
        answer = http.put(f"/api/projects/{project['id']}", json={"default_preset_id": None} | change)
        assert code(answer) == (422, "project_fixed")
    assert code(http.put(f"/api/projects/{project['id']}", json={})) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("Serie: Über & Ähnliches", "Serie_ Über _ Ähnliches"), ("Vol. 2", "Vol. 2"), ("../../etc", "etc")],
)
def test_without_a_directory_a_project_gets_one_named_after_it(http: httpx.Client, name: str, wanted: str) -> None:
    assert http.post("/api/projects", json={"name": name}).json()["output_subdir"] == wanted


@pytest.mark.parametrize("name", ["jobs", "___", "\U0001f3ac", "..."])
def test_a_name_that_is_no_directory_is_still_a_name(ingest: Ingest, http: httpx.Client, name: str) -> None:
    project = http.post("/api/projects", json={"name": name}).json()
    assert project["name"] == name
    directory = ingest.layout.output / project["output_subdir"]
    assert directory.is_dir()
    assert directory.parent == ingest.layout.output
    assert directory.name not in {"_state", "jobs"}


def test_a_project_may_have_no_directory_of_its_own_and_so_may_others(http: httpx.Client) -> None:
    for name in ("rootless one", "rootless two"):
        assert http.post("/api/projects", json={"name": name, "output_subdir": ""}).json()["output_subdir"] == ""


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"name": ""}, "invalid_name"),
        ({"name": " \n "}, "invalid_name"),
        ({"name": "a\x00b"}, "invalid_name"),
        ({"name": "n" * 121}, "invalid_name"),
        ({"name": "x", "output_subdir": "../up"}, "invalid_output_subdir"),
        ({"name": "x", "output_subdir": "/abs"}, "invalid_output_subdir"),
        ({"name": "x", "output_subdir": "a//b"}, "invalid_output_subdir"),
        ({"name": "x", "output_subdir": "a/../b"}, "invalid_output_subdir"),
        ({"name": "x", "output_subdir": ".hidden"}, "invalid_output_subdir"),
        ({"name": "x", "output_subdir": "line\n"}, "invalid_output_subdir"),
        ({"name": "x", "output_subdir": "a\\b"}, "invalid_output_subdir"),
        ({"name": "x", "output_subdir": "_state"}, "invalid_output_subdir"),
        ({"name": "x", "output_subdir": "Jobs/a"}, "invalid_output_subdir"),
        ({"name": "x", "output_subdir": "a/b/c/d/e"}, "invalid_output_subdir"),
        ({"name": "x", "default_preset_id": NO_PRESET}, "unknown_preset"),
        ({"name": "x", "default_preset_id": "*"}, "unknown_preset"),
        ({"name": "x", "colour": "blue"}, "invalid_request"),
        ({"name": 1}, "invalid_request"),
        ([], "invalid_request"),
    ],
)
async def test_what_is_no_project_leaves_nothing(
    ingest: Ingest, http: httpx.Client, log: JetStreamEventLog, body: Any, refusal: str
) -> None:
    before, there = await head(log), ingest.leftovers()
    assert code(http.post("/api/projects", json=body)) == (422, refusal)
    assert (await head(log), ingest.leftovers()) == (before, there)


def test_no_two_projects_share_a_name_or_a_directory(http: httpx.Client) -> None:
    first = http.post("/api/projects", json={"name": "Straße", "output_subdir": "Street/One"}).json()
    same_name = http.post("/api/projects", json={"name": "STRASSE", "output_subdir": "elsewhere"})
    assert code(same_name) == (409, "project_exists")
    assert same_name.json()["id"] == first["id"]
    for directory in ("street/one", "Street", "Street/One/deeper"):
        answer = http.post("/api/projects", json={"name": f"at {directory}", "output_subdir": directory})
        assert code(answer) == (409, "output_subdir_taken")
    beside = http.post("/api/projects", json={"name": "beside", "output_subdir": "Street/One more"})
    assert beside.status_code == 201
    assert [http.post("/api/projects", json={"name": name}).json()["output_subdir"][:4] for name in ("a?b", "a!b")] == [
        "a_b", "a_b-",
    ]  # fmt: skip


def test_a_project_does_not_move_into_a_jobs_directory(ingest: Ingest, http: httpx.Client) -> None:
    """Else deleting that job would delete the project's outputs with it."""
    taken = ingest.layout.output / "a film"
    taken.mkdir(parents=True)
    (taken / ".job").write_text("0192f0c1-2b3c-7d4e-8f50-61728394a5b6\n")
    for directory in ("a film", "a film/sequel"):
        answer = http.post("/api/projects", json={"name": directory, "output_subdir": directory})
        assert code(answer) == (409, "output_subdir_taken")
    named = http.post("/api/projects", json={"name": "a film"}).json()
    assert named["output_subdir"].startswith("a film-"), "where it was not asked for, another one is found"


async def test_of_fifty_who_make_one_project_one_does(ingest: Ingest, log: JetStreamEventLog) -> None:
    limits = httpx.Limits(max_connections=50)
    async with local_http.async_client(base_url=ingest.url, timeout=60, trust_env=False, limits=limits) as client:
        names = ["Race", "RACE"]
        calls = [client.post("/api/projects", json={"name": names[n % 2]}) for n in range(50)]
        answers = await asyncio.gather(*calls)
        assert sorted(answer.status_code for answer in answers) == [201, *[409] * 49]
        others = await asyncio.gather(*[client.post("/api/projects", json={"name": f"many {n}"}) for n in range(20)])
        assert {answer.status_code for answer in others} == {201}, "names apart do not get into each other's way"
    saved = [record.event for record in await log.read(ALL_PROJECTS)]
    assert len([event for event in saved if isinstance(event, ProjectSaved) and event.data.name.lower() == "race"]) == 1


async def test_a_preset_is_made_replaced_and_deleted(http: httpx.Client, log: JetStreamEventLog) -> None:
    made = http.post("/api/presets", json={"name": " Quick ", "mode": "low", "tgt_lang": "PT", "tts_lang": "pt"})
    assert made.status_code == 201
    found = made.json()
    assert made.headers["location"] == f"/api/presets/{found['id']}"
    settings = {"name": "Quick", "mode": "low", "device": "auto", "src_lang": "auto", "tgt_lang": "pt"}
    assert settings.items() <= found.items()
    assert (found["tts_lang"], found["tts_speaker"], found["owner_id"]) == ("pt", "", "local")
    path = f"/api/presets/{found['id']}"
    changed = http.put(path, json={"name": "Quick", "src_lang": "en", "tgt_lang": "pt"}).json()
    assert (changed["mode"], changed["src_lang"], changed["created_at"]) == ("medium", "en", found["created_at"])
    assert http.delete(path).json() == {"ok": True, "id": found["id"]}
    assert code(http.delete(path)) == (404, "preset_not_found")
    assert code(http.put(path, json={"name": "Quick"})) == (404, "preset_not_found")
    stored = await log.last(preset_subject(found["id"]))
    assert stored is not None
    assert isinstance(stored.event, PresetDeleted)


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {},
        {"name": "x", "mode": "best"},
        {"name": "x", "tgt_lang": "klingon"},
        {"name": "x", "src_lang": "en"},
        {"name": "x", "tts_speaker": "a\x00"},
        {"name": "x", "tts_speaker_wav": "/srv/voices/me.wav"},
        {"name": "x", "tts_speaker_wav": None},
        {"name": "x", "id": NO_PRESET},
        [],
    ],
)
async def test_what_is_no_preset_leaves_nothing(http: httpx.Client, log: JetStreamEventLog, body: Any) -> None:
    before = await head(log)
    answer = http.post("/api/presets", json=body)
    assert code(answer) == (422, "invalid_request")
    if "tts_speaker_wav" in body:
        assert "a path on the server" in answer.json()["detail"]
    assert await head(log) == before


@pytest.mark.parametrize("kind", ["projects", "presets"])
@pytest.mark.parametrize("name", [NO_PROJECT, NO_PRESET, "*", "%3E", "proj_*", "%00", f"{NO_PRESET}%0A", "é"])
def test_an_id_that_is_none_never_becomes_a_subject(http: httpx.Client, kind: str, name: str) -> None:
    body = {"projects": {"default_preset_id": None}, "presets": {"name": "x"}}[kind]
    expected = (404, f"{kind[:-1]}_not_found")
    assert code(http.put(f"/api/{kind}/{name}", json=body)) == expected
    assert code(http.delete(f"/api/{kind}/{name}")) == expected


async def submitted(log: JetStreamEventLog, answer: httpx.Response) -> JobSubmitted:
    assert answer.status_code == 202, answer.text
    (record,) = await log.read(job_filter(answer.json()["id"]))
    assert isinstance(record.event, JobSubmitted)
    return record.event


@pytest.mark.usefixtures("worker")
async def test_a_submission_says_where_it_belongs(
    ingest: Ingest, http: httpx.Client, log: JetStreamEventLog, video: Path
) -> None:
    wanted = preset(http, mode="low", device="cpu", src_lang="en", tgt_lang="pt")
    body = {"name": "Belonging", "output_subdir": "belongs/here", "default_preset_id": wanted}
    project = (await in_thread(http.post, "/api/projects", json=body)).json()
    content = video.read_bytes()
    with ingest.client() as client:
        form = {"project": "BELONGING", "tags": "One, two,,one", "visibility": "public", "mode": "high"}
        answer = await in_thread(client.post, "/api/jobs", files={"file": ("clip.mp4", content)}, data=form)
    data = (await submitted(log, answer)).data
    assert (data.project_id, data.project_name, data.preset_id) == (project["id"], "Belonging", wanted)
    assert (data.tags, data.visibility) == (["one", "two"], "shared")
    assert (data.mode, data.device, data.src_lang, data.tgt_lang) == ("high", "cpu", "en", "pt"), "what is sent wins"
    assert data.base_dir == "belongs/here/clip"
    assert (ingest.layout.output / data.base_dir).is_dir()


@pytest.mark.usefixtures("worker")
async def test_a_projects_deleted_preset_is_none(
    ingest: Ingest, http: httpx.Client, log: JetStreamEventLog, video: Path
) -> None:
    gone = preset(http, mode="low")
    project = http.post("/api/projects", json={"name": "presetless", "default_preset_id": gone}).json()
    http.delete(f"/api/presets/{gone}")
    answer = await in_thread(ingest.submit, video, project_id=project["id"], preset_id="", tags='["x"]')
    data = (await submitted(log, answer)).data
    assert (data.preset_id, data.mode, data.tags, data.project_id) == (None, "medium", ["x"], project["id"])


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"project": "nobody's"}, "unknown_project"),
        ({"project_id": NO_PROJECT}, "unknown_project"),
        ({"project_id": "*"}, "unknown_project"),
        ({"preset_id": NO_PRESET}, "unknown_preset"),
        ({"preset_id": "preset_>"}, "unknown_preset"),
        ({"tags": ",".join(f"t{n}" for n in range(21))}, "invalid_tags"),
        ({"tags": "[1]"}, "invalid_tags"),
        ({"tags": "[" * 3000}, "invalid_request"),
        ({"visibility": "everybody"}, "invalid_request"),
        ({"project": "a", "project_name": "b"}, "invalid_request"),
    ],
)
async def test_a_submission_that_belongs_nowhere_leaves_nothing(
    ingest: Ingest, log: JetStreamEventLog, fields: dict[str, str], refusal: str
) -> None:
    before, there = await head(log), ingest.leftovers()
    assert code(await in_thread(ingest.submit, b"never looked at", **fields)) == (422, refusal)
    assert (await head(log), ingest.leftovers()) == (before, there)


@pytest.mark.usefixtures("worker")
async def test_a_key_whose_job_was_deleted_is_used_up(ingest: Ingest, http: httpx.Client, video: Path) -> None:
    first = await in_thread(ingest.submit, video, key="deleted later", tags="a")
    assert code(await in_thread(ingest.submit, video, key="deleted later", tags="b")) == (409, "idempotency_mismatch")
    assert (await in_thread(ingest.submit, video, key="deleted later", tags="a")).status_code == 200
    assert http.delete(first.json()["url"]).status_code == 200
    again = await in_thread(ingest.submit, video, key="deleted later", tags="a")
    assert code(again) == (409, "idempotency_job_deleted")
    assert again.json()["id"] == first.json()["id"]


async def test_presets_of_one_name_are_two(http: httpx.Client, log: JetStreamEventLog) -> None:
    assert preset(http, name="twice") != preset(http, name="twice")
    assert len(await log.read(ALL_PRESETS)) >= 2
