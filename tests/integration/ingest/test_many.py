"""Batches, imports and estimates over HTTP, against the real service, broker and log."""

# ruff: noqa: ASYNC240 -- a test may look at a small file

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.msg import Msg

from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.events.subjects import SCHEDULER_ADMIT, SCHEDULER_ESTIMATE, job_filter
from shared.events.types import JobSubmitted
from shared.job.aggregate import evolve
from shared.job.model import IMPORT
from shared.job.stages import ready
from shared.manifests import Transcript, Translation
from shared.runtime_state import AdmitAnswer, AdmitRequest, EstimateAnswer, EstimateRequest, QuotaLeft, SecondsRange
from shared.settings import Settings
from tests.broker import BinaryBroker
from tests.integration.ingest.people import invited
from tests.integration.ingest.service import Ingest, all_events, in_thread

pytestmark = pytest.mark.usefixtures("worker")

SRT = "1\n00:00:00,500 --> 00:00:01,500\nThe family of <b>Dashwood</b>\n\n2\n00:00:02,000 --> 00:00:03,000\nhad been\n"


def post(ingest: Ingest, path: str, **request: Any) -> httpx.Response:
    with ingest.client() as client:
        return client.post(path, **request)


@contextlib.asynccontextmanager
async def admitting(broker: BinaryBroker, most: int) -> AsyncIterator[list[AdmitRequest]]:
    """Answer as a scheduler that has so many places left, each of which an admitted job takes."""
    client = await connect(Settings(nats_url=broker.url), "test-scheduler")
    asked: list[AdmitRequest] = []

    async def heard(message: Msg) -> None:
        asked.append(AdmitRequest.model_validate_json(message.data))
        answer = AdmitAnswer(admitted=len(asked) <= most, code="" if len(asked) <= most else "max_queued_per_user")
        await message.respond(answer.model_dump_json().encode())

    await client.subscribe(SCHEDULER_ADMIT, cb=heard)
    await client.flush()
    try:
        yield asked
    finally:
        await client.close()


async def submitted(log: JetStreamEventLog, job_id: str) -> JobSubmitted:
    (record,) = await log.read(job_filter(job_id))
    assert isinstance(record.event, JobSubmitted)
    return record.event


def put_into_the_input_folder(ingest: Ingest, video: Path, name: str) -> str:
    ingest.layout.input.mkdir(parents=True, exist_ok=True)
    shutil.copy(video, ingest.layout.input / name)
    return name


async def test_an_imported_stage_is_done_in_the_log_and_its_files_are_the_jobs_own(
    ingest: Ingest, log: JetStreamEventLog, video: Path
) -> None:
    files = {"file": ("film.mp4", video.read_bytes()), "src_srt": ("a.srt", SRT), "tgt_srt": ("b.vtt", SRT)}
    answer = await in_thread(post, ingest, "/api/jobs", files=files, data={"tgt_lang": "pt", "src_lang": "en"})
    assert answer.status_code == 202, answer.text
    event = await submitted(log, answer.json()["id"])
    assert "Dashwood" not in event.model_dump_json()  # E8
    job = evolve(None, 1, event)
    assert job is not None
    assert {name: stage.reused_from for name, stage in job.stages.items() if stage.reused_from} == {
        "transcribe": IMPORT,
        "translate": IMPORT,
    }
    assert ready(job.done_stages) == ["audio"]
    assert ready(job.done_stages | {"audio"}) == ["tts"]
    outputs = job.outputs_of(job.done_stages)
    assert all(Path(output.path).parent.name == job.id for output in outputs.values())
    said = Transcript.model_validate_json((ingest.layout.output / outputs["transcript"].path).read_bytes())
    assert [segment.text for segment in said.segments] == ["The family of Dashwood", "had been"]
    made = Translation.model_validate_json((ingest.layout.output / outputs["translation"].path).read_bytes())
    assert (made.source_language, made.target_language) == ("en", "pt")


@pytest.mark.parametrize(
    ("field", "text", "told"),
    [
        ("src_srt", b"1\n00:00:02,000 --> 00:00:01,000\nx\n", "line 2"),
        ("tgt_srt", b"\xff\xfe1\x00", "UTF-8"),
        ("transcript_json", b'{"segments": 1}', "segments"),
        ("src_srt", b"1\n00:00:01,000 --> 00:10:00,000\nx\n", "seconds long|s long"),
        ("src_srt", b"x" * ((2 << 20) + 1), "larger than"),
    ],
)
async def test_what_cannot_be_imported_makes_no_job(
    ingest: Ingest, log: JetStreamEventLog, video: Path, field: str, text: bytes, told: str
) -> None:
    there, events = ingest.leftovers(), await all_events(log)
    files = {"file": ("film.mp4", video.read_bytes()), field: ("a", text)}
    answer = await in_thread(post, ingest, "/api/jobs", files=files, data={"tgt_lang": "pt", "src_lang": "en"})
    assert answer.json()["code"] in {"invalid_import", "form_too_large"}, answer.text
    assert any(words in answer.json()["detail"] for words in told.split("|"))
    assert (ingest.leftovers(), await all_events(log)) == (there, events)


async def test_what_is_not_done_yet_is_never_accepted_silently(ingest: Ingest, video: Path) -> None:
    answer = await in_thread(ingest.submit, video, director="true", pg="pg13", qa="off", scene_detect="audio")
    assert (answer.status_code, answer.json()["code"]) == (422, "not_supported_yet")
    assert {error["where"] for error in answer.json()["errors"]} == {"director", "pg"}
    off = await in_thread(ingest.submit, video, director="0", pg="off", cache_policy="full", director_strength="0.5")
    assert off.status_code == 202, off.text


async def test_a11_a_batch_reserves_a_place_for_each_of_its_jobs(
    ingest: Ingest, own_broker: BinaryBroker, log: JetStreamEventLog, video: Path
) -> None:
    name = put_into_the_input_folder(ingest, video, "batch.mp4")
    items = [
        {"video_path": name, "tgt_lang": "pt"},
        {"filename": "missing.mp4", "tgt_lang": "pt"},
        {"video_path": name, "tgt_lang": "pt", "tags": ["second"]},
        {"video_path": name, "tgt_lang": "pt", "tags": ["third"]},
    ]
    body = {"items": items, "idempotency_key": "a night"}
    async with admitting(own_broker, 2) as asked:
        answer = await in_thread(post, ingest, "/api/jobs/batch", json=body)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert [item.get("problem", {}).get("code") for item in told["items"]] == [
        None,
        "video_not_found",
        None,
        "quota_exceeded",
    ]
    assert told["ids"] == [told["items"][0]["id"], told["items"][2]["id"]]
    assert len({request.job_id for request in asked}) == 3
    assert [(await submitted(log, job_id)).data.tags for job_id in told["ids"]] == [[], ["second"]]
    again = await in_thread(post, ingest, "/api/jobs/batch", json=body)
    assert (again.json()["ids"][:2], len(again.json()["ids"])) == (told["ids"], 3)  # a retry makes what is missing


async def test_a_form_submits_each_of_its_files_with_the_same_fields(
    ingest: Ingest, log: JetStreamEventLog, video: Path
) -> None:
    files = [("files[]", (f"part {number}.mp4", video.read_bytes())) for number in (1, 2)]
    files.append(("files[]", ("notes.txt", b"no video")))
    answer = await in_thread(post, ingest, "/api/jobs/batch", files=files, data={"tgt_lang": "pt", "tags": "batch"})
    assert answer.status_code == 202, answer.text
    events = [await submitted(log, job_id) for job_id in answer.json()["ids"]]
    assert [(event.data.title, event.data.tags) for event in events] == [
        ("part 1.mp4", ["batch"]),
        ("part 2.mp4", ["batch"]),
    ]
    assert answer.json()["items"][2]["problem"]["code"] == "not_a_video"
    assert not list(ingest.layout.uploads.glob("*.part"))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"items": []}, "invalid_request"),
        ({"items": [{"video_path": "a.mp4"}] * 51}, "invalid_request"),
        ({"items": [{"video_path": "a.mp4"}, {"video_path": "a.mp4", "mood": "blue"}]}, "invalid_items"),
        ({"items": [{"video_path": "a.mp4", "filename": "b.mp4"}]}, "invalid_items"),
        ({"items": ["a.mp4"]}, "invalid_items"),
        ({"items": [{"video_path": "a.mp4", "tgt_lang": "pt"}]}, "batch_refused"),
    ],
)
async def test_a_batch_that_is_wrong_is_refused_whole(
    ingest: Ingest, log: JetStreamEventLog, body: dict[str, Any], code: str
) -> None:
    events = await all_events(log)
    answer = await in_thread(post, ingest, "/api/jobs/batch", json=body)
    assert answer.json()["code"] == code, answer.text
    assert await all_events(log) == events


async def test_an_estimate_tells_what_a_job_would_take_and_starts_nothing(
    ingest: Ingest, own_broker: BinaryBroker, log: JetStreamEventLog, video: Path
) -> None:
    name = put_into_the_input_folder(ingest, video, "estimate.mp4")
    client = await connect(Settings(nats_url=own_broker.url), "test-scheduler")
    asked: list[EstimateRequest] = []
    said = EstimateAnswer(
        admission=AdmitAnswer(admitted=False, code="max_queued_per_user"),
        left=QuotaLeft(jobs_today=3, reset_seconds=60),
        mode="low",
        work=SecondsRange(low=1, expected=2, high=3),
        free_bytes=10,
    )

    async def heard(message: Msg) -> None:
        asked.append(EstimateRequest.model_validate_json(message.data))
        await message.respond(said.model_dump_json().encode())

    await client.subscribe(SCHEDULER_ESTIMATE, cb=heard)
    await client.flush()
    there, events = ingest.leftovers(), await all_events(log)
    try:
        body = {"video_path": name, "tgt_lang": "pt", "src_lang": "en", "mode": "high", "src_srt_text": SRT}
        answer = await in_thread(post, ingest, "/api/jobs/estimate", json=body)
        supposed = {"duration_s": 5400, "size_bytes": 1 << 30, "tgt_lang": "pt"}
        other = await in_thread(post, ingest, "/api/jobs/estimate", json=supposed)
        with ingest.client() as browser:
            left = (await in_thread(browser.get, "/api/settings/left")).json()
    finally:
        await client.close()
    assert (answer.status_code, other.status_code) == (200, 200), answer.text + other.text
    told = answer.json()
    assert (told["admission"]["admitted"], told["left"]["jobs_today"], told["mode"]) == (False, 3, "low")
    assert told["engines"] == {"asr": [], "mt": ["bergamot"], "tts": []}
    assert (told["disk"]["enough"], left["jobs_today"]) == (False, 3)
    first, second, _ = asked
    assert (first.owner, first.mode, first.imported) == ("local", "high", ["transcribe"])
    assert first.bytes == video.stat().st_size
    assert first.duration_s == pytest.approx(told["duration_s"])
    assert (second.bytes, second.duration_s, second.imported) == (1 << 30, 5400, [])
    assert other.json()["disk"]["needed_bytes"] > 3 << 30
    assert (ingest.leftovers(), await all_events(log)) == (there, events)


async def test_without_a_scheduler_no_estimate_is_made_up(ingest: Ingest) -> None:
    answer = await in_thread(post, ingest, "/api/jobs/estimate", json={"duration_s": 60.5, "tgt_lang": "pt"})
    assert (answer.status_code, answer.json()["code"]) == (503, "scheduler_unavailable")


async def test_e1_fifty_requests_at_once_with_one_key_make_one_job(
    ingest: Ingest, log: JetStreamEventLog, video: Path
) -> None:
    name = put_into_the_input_folder(ingest, video, "race.mp4")
    before = len(await all_events(log))
    body = {"video_path": name, "tgt_lang": "pt", "idempotency_key": "fifty"}

    def race() -> list[httpx.Response]:
        with ThreadPoolExecutor(50) as pool:
            return list(pool.map(lambda _: post(ingest, "/api/jobs", json=body), range(50)))

    answers = await asyncio.to_thread(race)
    assert sorted({answer.status_code for answer in answers}) == [200, 202], [answer.text for answer in answers]
    assert [answer.status_code for answer in answers].count(202) == 1
    assert len({json.dumps(answer.json()["id"]) for answer in answers}) == 1
    assert len(await all_events(log)) == before + 1
    assert not list(ingest.layout.uploads.glob("*.part"))


async def test_a12_a_key_is_each_users_own_and_somebody_too_eager_has_to_wait(
    ingest: Ingest, log: JetStreamEventLog, video: Path
) -> None:
    name = put_into_the_input_folder(ingest, video, "two users.mp4")
    body = {"video_path": name, "tgt_lang": "pt", "idempotency_key": "the same key"}
    people = [await asyncio.to_thread(invited, ingest, who, "operator") for who in ("ann", "bob")]
    answers = [await in_thread(person.ask, "POST", "/api/jobs", json=body) for person in people]
    assert [answer.status_code for answer in answers] == [202, 202], [answer.text for answer in answers]
    events = [await submitted(log, answer.json()["id"]) for answer in answers]
    assert len({event.data.owner for event in events} - {"local"}) == 2
    tries = [await in_thread(people[0].ask, "POST", "/api/jobs", json=body) for _ in range(10)]
    assert [answer.status_code for answer in tries] == [200] * 9 + [429]
    assert (tries[-1].json()["code"], tries[-1].headers["retry-after"] > "0") == ("too_many_requests", True)
