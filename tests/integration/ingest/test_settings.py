"""A user's own settings and profiles over HTTP, with two users and an admin, and what submissions make of them."""

# ruff: noqa: ASYNC212 -- a test may wait for a quick answer

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.msg import Msg

from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.events.access import UserSettingsSaved
from shared.events.subjects import ALL_PRESETS, ALL_PROJECTS, SCHEDULER_ESTIMATE, job_filter, user_settings_subject
from shared.events.types import JobSubmitted
from shared.runtime_state import AdmitAnswer, EstimateAnswer, EstimateRequest, QuotaLeft, SecondsRange
from shared.settings import Settings
from tests.broker import BinaryBroker
from tests.integration.ingest.people import Person, invited
from tests.integration.ingest.service import Ingest, in_thread

NOBODY = "u_0123456789abcdef"
NOTHING = dict.fromkeys(("mode", "device", "src_lang", "tgt_lang", "tts_lang", "tts_speaker"))


@pytest.fixture(scope="module")
def ann(ingest: Ingest) -> Person:
    return invited(ingest, "ann", "editor")


@pytest.fixture(scope="module")
def bob(ingest: Ingest) -> Person:
    return invited(ingest, "bob", "editor")


@pytest.fixture
def admin(ingest: Ingest) -> Iterator[httpx.Client]:
    with ingest.client() as client:
        yield client


@pytest.fixture
def clean(ann: Person, bob: Person) -> None:
    for person in (ann, bob):
        person.ask("PUT", "/api/settings", json={"defaults": {}}).raise_for_status()


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def saved(person: Person, **defaults: Any) -> dict[str, Any]:
    answer = person.ask("PUT", "/api/settings", json={"defaults": defaults})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def estimated(person: Person, body: dict[str, Any]) -> None:
    answer = await in_thread(person.ask, "POST", "/api/jobs/estimate", json={"duration_s": 60.0} | body)
    assert answer.status_code == 200, answer.text


@pytest.fixture
async def estimates(own_broker: BinaryBroker) -> AsyncIterator[list[EstimateRequest]]:
    """Answer as a scheduler; the list is what it was asked: the submissions as they would be made."""
    client = await connect(Settings(nats_url=own_broker.url), "test-scheduler")
    asked: list[EstimateRequest] = []
    said = EstimateAnswer(
        admission=AdmitAnswer(admitted=True), left=QuotaLeft(), mode="low", work=SecondsRange(low=1, expected=2, high=3)
    )

    async def heard(message: Msg) -> None:
        asked.append(EstimateRequest.model_validate_json(message.data))
        await message.respond(said.model_dump_json().encode())

    await client.subscribe(SCHEDULER_ESTIMATE, cb=heard)
    await client.flush()
    yield asked
    await client.close()


def test_who_never_saved_anything_has_nothing_of_their_own_and_is_told_the_limits(ingest: Ingest) -> None:
    new = invited(ingest, "newcomer", "viewer")
    told = new.ask("GET", "/api/settings").json()
    assert (told["defaults"], told["updated_at"]) == (NOTHING, None)
    system = told["system"]
    assert (system["limits"]["MAX_UPLOAD_MB"], system["limits"]["MAX_VIDEO_MIN"]) == (2048, 120)
    assert (system["budgets"], system["notifications"]) == ({}, {})
    assert (system["defaults"]["mode"], system["defaults"]["tgt_lang"]) == ("medium", "en")
    assert code(new.ask("PUT", "/api/settings", json={"defaults": {}})) == (403, "scope_missing"), (
        "viewers submit nothing"
    )


@pytest.mark.usefixtures("clean")
async def test_settings_are_each_users_own_and_replaced_as_a_whole(
    ann: Person, bob: Person, log: JetStreamEventLog
) -> None:
    told = saved(ann, mode="low", tgt_lang=" PT ", tts_lang="")
    assert told["defaults"] == NOTHING | {"mode": "low", "tgt_lang": "pt", "tts_lang": ""}
    assert ann.ask("GET", "/api/settings").json() == told
    assert bob.ask("GET", "/api/settings").json()["defaults"] == NOTHING
    subject = user_settings_subject(ann.id)
    before = await log.last(subject)
    assert saved(ann, mode="low", tgt_lang="pt", tts_lang="") == told
    assert await log.last(subject) == before, "what is so already makes no event"
    assert saved(ann, device="cpu")["defaults"] == NOTHING | {"device": "cpu"}


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize(
    "defaults",
    [
        {"mode": "best"},
        {"src_lang": "auto", "tgt_lang": "auto"},
        {"src_lang": "pt", "tgt_lang": "PT"},
        {"tts_speaker": "a\x00"},
        {"tts_speaker_wav": "/srv/voices/me.wav"},
        {"owner": "u_1"},
        [],
        None,
    ],
)
async def test_what_are_no_settings_leaves_nothing(ann: Person, log: JetStreamEventLog, defaults: Any) -> None:
    before = await log.last()
    assert code(ann.ask("PUT", "/api/settings", json={"defaults": defaults})) == (422, "invalid_request")
    assert await log.last() == before


@pytest.mark.usefixtures("clean")
async def test_an_admin_sees_and_replaces_a_users_settings_and_nobody_else_does(
    ann: Person, bob: Person, admin: httpx.Client, log: JetStreamEventLog
) -> None:
    path, wanted = f"/api/admin/users/{ann.id}/settings", {"defaults": {"mode": "high"}}
    changed = admin.put(path, json=wanted)
    assert changed.status_code == 200
    assert changed.json() == admin.get(path).json() == ann.ask("GET", "/api/settings").json()
    last = await log.last(user_settings_subject(ann.id))
    assert last is not None
    assert isinstance(last.event, UserSettingsSaved)
    assert (last.event.subject, last.event.actor, last.event.data.mode) == (ann.id, "local", "high")
    for asker in (ann, bob):
        assert code(asker.ask("GET", path)) == (403, "scope_missing")
        assert code(asker.ask("PUT", path, json=wanted)) == (403, "scope_missing")
    assert admin.get("/api/settings").json()["defaults"] == NOTHING, "the admin's own are others"
    for nobody in (NOBODY, "local", "*", "%3E"):
        for answer in (
            admin.get(f"/api/admin/users/{nobody}/settings"),
            admin.put(path.replace(ann.id, nobody), json=wanted),
        ):
            assert code(answer) == (404, "user_not_found")


@pytest.mark.usefixtures("clean", "worker")
async def test_a_submission_takes_from_its_own_users_settings_what_it_does_not_say(
    ann: Person, bob: Person, estimates: list[EstimateRequest]
) -> None:
    saved(ann, mode="low", device="cpu")
    wanted = {"name": "nearer", "mode": "medium", "device": "cuda", "tgt_lang": "pt"}
    preset = ann.ask("POST", "/api/presets", json=wanted).json()
    for person, body in ((ann, {}), (ann, {"mode": "high"}), (ann, {"preset_id": preset["id"]}), (bob, {})):
        await estimated(person, body)
    assert [(one.owner, one.mode, one.device) for one in estimates] == [
        (ann.id, "low", "cpu"), (ann.id, "high", "cpu"), (ann.id, "medium", "cuda"), (bob.id, "medium", "auto"),
    ]  # fmt: skip
    saved(ann, src_lang="pt", tgt_lang="en")
    refused = await in_thread(ann.ask, "POST", "/api/jobs/estimate", json={"duration_s": 60.0, "tgt_lang": "pt"})
    assert code(refused) == (422, "same_language")


@pytest.mark.usefixtures("clean", "worker")
async def test_a_batch_takes_them_too_and_the_job_has_them(ann: Person, log: JetStreamEventLog, video: Path) -> None:
    saved(ann, mode="low", src_lang="pt", tgt_lang="en")
    project = ann.ask("POST", "/api/projects", json={"name": "of the batch", "profile": {"mix": "legacy"}}).json()
    content = await asyncio.to_thread(video.read_bytes)
    form = {"project_id": project["id"], "device": "cpu"}
    answer = await in_thread(ann.ask, "POST", "/api/jobs/batch", files=[("files", ("film.mp4", content))], data=form)
    assert answer.status_code == 202, answer.text
    (record,) = await log.read(job_filter(answer.json()["ids"][0]))
    assert isinstance(record.event, JobSubmitted)
    data = record.event.data
    assert (data.mode, data.device, data.src_lang, data.tgt_lang) == ("low", "cpu", "pt", "en")
    assert data.overrides == {"mix": "legacy"}


@pytest.mark.usefixtures("clean", "worker")
async def test_profiles_lie_under_a_submissions_overrides(ann: Person, estimates: list[EstimateRequest]) -> None:
    preset = ann.ask("POST", "/api/presets", json={"name": "small", "profile": {"asr_beam": 2, "mix": "legacy"}}).json()
    assert preset["profile"] == {"asr_beam": 2, "mix": "legacy"}
    profile = {"asr_beam": 3, "timing_fit": False}
    body = {"name": "Profiled", "default_preset_id": preset["id"], "profile": profile}
    project = ann.ask("POST", "/api/projects", json=body).json()
    assert project["profile"] == profile
    await estimated(ann, {"project": "profiled", "overrides": {"mt_batch": 4}})
    path = f"/api/projects/{project['id']}"
    kept = ann.ask("PUT", path, json={"default_preset_id": None}).json()
    assert (kept["default_preset_id"], kept["profile"]) == (None, profile), "not sent: it stays"
    changed = ann.ask("PUT", path, json={"default_preset_id": None, "profile": {"mix": "legacy"}}).json()
    assert changed["profile"] == {"mix": "legacy"}
    await estimated(ann, {"project": "profiled"})
    await estimated(ann, {})
    assert [one.overrides for one in estimates] == [
        {"asr_beam": 2, "mix": "legacy", "timing_fit": False, "mt_batch": 4}, {"mix": "legacy"}, {},
    ]  # fmt: skip
    replaced = ann.ask("PUT", f"/api/presets/{preset['id']}", json={"name": "small"}).json()
    assert replaced["profile"] == {}, "a preset is replaced as a whole"


@pytest.mark.parametrize("profile", [{"asr_beam": 11}, {"colour": "blue"}, {"fast_voice": 1}, ["mix"], "legacy"])
async def test_a_profile_has_the_settings_that_overrides_may_have(
    ann: Person, log: JetStreamEventLog, profile: Any
) -> None:
    before = await log.last(ALL_PROJECTS), await log.last(ALL_PRESETS)
    for kind in ("projects", "presets"):
        answer = ann.ask("POST", f"/api/{kind}", json={"name": "wrong", "profile": profile})
        assert code(answer) == (422, "invalid_request")
    assert (await log.last(ALL_PROJECTS), await log.last(ALL_PRESETS)) == before


def test_the_list_of_profiles_has_ones_own_projects_that_have_one(ann: Person, bob: Person) -> None:
    made = [
        ("b same", {"mix": "legacy", "asr_beam": 1}),
        ("A same", {"asr_beam": 1, "mix": "legacy"}),
        ("c other", {"mix": "legacy"}),
        ("d none", {}),
    ]
    for name, profile in made:
        assert bob.ask("POST", "/api/projects", json={"name": name, "profile": profile}).status_code == 201
    listed = bob.ask("GET", "/api/project-profiles").json()["items"]
    assert [item["name"] for item in listed] == ["A same", "b same", "c other"]
    first, second, third = (item["profile_hash"] for item in listed)
    assert first == second == "9bfaf0ad3ce46983"
    assert third != first
    hers = [item["name"] for item in ann.ask("GET", "/api/project-profiles").json()["items"]]
    assert not {name for name, _ in made} & set(hers)
