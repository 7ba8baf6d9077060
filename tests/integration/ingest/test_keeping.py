"""What a submission says about what is kept is in its event; of a private one, its video's name is nowhere at all."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.ingest.fields import fingerprint, parse_body
from shared.eventlog.jetstream import JetStreamEventLog
from shared.events.subjects import job_filter
from shared.events.types import JobCompleted, JobStarted, JobSubmitted, JobSubmittedData
from shared.identity import uuid7
from shared.keeping import KEEP_ALL, PRIVATE, Keeping
from tests.broker import BinaryBroker
from tests.factories import event, submitted
from tests.integration.ingest.service import Ingest, in_thread, running_ingest

pytestmark = pytest.mark.usefixtures("worker")

NAME = "Unmistakable Holiday.mp4"
WORD = "nmistakable"


async def data_of(log: JetStreamEventLog, answer: httpx.Response) -> JobSubmittedData:
    assert answer.status_code == 202, answer.text
    (record,) = await log.read(job_filter(answer.json()["id"]))
    assert isinstance(record.event, JobSubmitted)
    return record.event.data


async def told(log: JetStreamEventLog) -> str:
    """Every event in the log, as text."""
    texts: list[str] = []
    after = 0
    while batch := await log.read(after=after):
        texts += [record.event.encode().decode() for record in batch if record.event]
        after = batch[-1].seq
    return "\n".join(texts)


def written(ingest: Ingest) -> set[str]:
    """The files that tell the name by theirs or by their content, the service's own log included."""
    data = ingest.layout.data
    files = [*(path for path in data.rglob("*") if path.is_file()), data.parent / f"{data.name}.log"]
    return {str(path) for path in files if WORD in str(path) or WORD.encode() in path.read_bytes()}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, KEEP_ALL),
        ({"cache_policy": "balanced"}, Keeping(cache="balanced")),
        ({"no_store_transcript": "1", "no_store_source_audio": "on"}, Keeping(transcript=False, source_audio=False)),
        ({"minimal_artifacts": "true"}, Keeping(cache="minimal", logs=False)),
        ({"privacy": "off", "cache_policy": ""}, KEEP_ALL),
    ],
)
async def test_the_choice_is_in_the_event(
    ingest: Ingest, log: JetStreamEventLog, video: Path, fields: dict[str, str], expected: Keeping
) -> None:
    data = await data_of(log, await in_thread(ingest.submit, video, name="film.mp4", **fields))
    assert (data.keeping, data.title) == (expected, "film.mp4")


@pytest.mark.parametrize("fields", [{"cache_policy": "some"}, {"privacy": "maybe"}, {"no_store_transcript": "2"}])
async def test_what_is_no_choice_makes_no_job(ingest: Ingest, video: Path, fields: dict[str, str]) -> None:
    before = ingest.leftovers()
    answer = await in_thread(ingest.submit, video, **fields)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [error["where"] for error in answer.json()["errors"]] == list(fields)
    assert ingest.leftovers() == before


async def test_a_private_videos_name_is_nowhere(ingest: Ingest, log: JetStreamEventLog, video: Path) -> None:
    answer = await in_thread(ingest.submit, video, name=NAME, key="secret", privacy="on")
    data, job_id = await data_of(log, answer), answer.json()["id"]
    assert data.keeping == PRIVATE
    assert data.title == data.stem == data.base_dir == f"private-{job_id[-8:]}"
    assert (ingest.layout.pointer(job_id) / "video.txt").read_text() == "(redacted)\n"
    again = await in_thread(ingest.submit, video, name=NAME, key="secret", privacy="on")
    assert (again.status_code, again.json()["id"]) == (200, job_id)
    assert WORD not in await told(log)
    assert written(ingest) == set()


async def test_by_no_digest_in_the_log_a_private_videos_path_can_be_guessed(
    ingest: Ingest, log: JetStreamEventLog, video: Path
) -> None:
    (ingest.layout.input / NAME).write_bytes(await asyncio.to_thread(video.read_bytes))
    body = {"video_path": NAME, "tgt_lang": "pt", "privacy": True}
    with ingest.client() as client:
        answer = await in_thread(client.post, "/api/jobs", json=body | {"idempotency_key": "by path"})
        again = await in_thread(client.post, "/api/jobs", json=body | {"idempotency_key": "by path"})
    (ingest.layout.input / NAME).unlink()
    data = await data_of(log, answer)
    assert (again.status_code, again.json()["id"]) == (200, answer.json()["id"])
    assert data.body_fingerprint != fingerprint(parse_body(body, None), f"path:{NAME}", "")
    assert WORD not in await told(log)


async def test_a_refusal_gives_an_upload_its_name_back(ingest: Ingest, video: Path) -> None:
    film = await asyncio.to_thread(video.read_bytes)
    with ingest.client() as client:
        wanted = {"filename": "Not Private.mp4", "total_bytes": len(film)}
        upload = (await in_thread(client.post, "/api/uploads/init", json=wanted)).json()["upload_id"]
        headers = {"X-Chunk-Sha256": hashlib.sha256(film).hexdigest()}
        url = f"/api/uploads/{upload}"
        await in_thread(client.post, f"{url}/chunk?index=0&offset=0", content=film, headers=headers)
        assert (await in_thread(client.post, f"{url}/complete", json={})).status_code == 200
        body = {"upload_id": upload, "tgt_lang": "xx", "privacy_mode": True}
        assert (await in_thread(client.post, "/api/jobs", json=body)).status_code == 422
    assert "Not Private" in (ingest.layout.uploads / f"{upload}.upload.json").read_text()


async def test_nor_is_that_of_an_upload_once_a_private_job_is_made_of_it(
    ingest: Ingest, log: JetStreamEventLog, video: Path
) -> None:
    film = await asyncio.to_thread(video.read_bytes)
    with ingest.client() as client:
        wanted = {"filename": NAME, "total_bytes": len(film)}
        begun = await in_thread(client.post, "/api/uploads/init", json=wanted)
        upload = begun.json()["upload_id"]
        url, digest = f"/api/uploads/{upload}", hashlib.sha256(film).hexdigest()
        of_chunk = {"X-Chunk-Sha256": digest}
        sent = await in_thread(client.post, f"{url}/chunk?index=0&offset=0", content=film, headers=of_chunk)
        assert sent.status_code == 200, sent.text
        done = await in_thread(client.post, f"{url}/complete", json={"final_sha256": digest})
        assert done.status_code == 200, done.text
        body: dict[str, Any] = {"upload_id": upload, "tgt_lang": "pt", "privacy_mode": True, "idempotency_key": "up"}
        answer = await in_thread(client.post, "/api/jobs", json=body)
        assert (await data_of(log, answer)).title.startswith("private-")
        again = await in_thread(client.post, "/api/jobs", json=body)
    assert (again.status_code, again.json()["id"]) == (200, answer.json()["id"])
    assert WORD not in await told(log)
    assert written(ingest) == set()


async def test_the_installation_can_be_private_by_itself(
    own_broker: BinaryBroker, log: JetStreamEventLog, video: Path, tmp_path: Path
) -> None:
    with running_ingest(tmp_path / "data", own_broker.url, PRIVACY_MODE="on") as private:
        assert (await data_of(log, await in_thread(private.submit, video, name=NAME))).keeping == PRIVATE
        asked = await in_thread(private.submit, video, name="film.mp4", privacy="off")
        assert (await data_of(log, asked)).title == "film.mp4"
        assert written(private) == set()


async def test_a_re_run_without_its_video_is_refused_with_the_reason(ingest: Ingest, log: JetStreamEventLog) -> None:
    job_id = uuid7()
    for what in (
        submitted(job_id, keeping=PRIVATE),
        event(JobStarted, job_id, run=1),
        event(JobCompleted, job_id, run=1),
    ):
        await log.append(what)
    with ingest.client() as client:
        answer = await in_thread(client.post, f"/api/jobs/{job_id}/rerun")
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert "not to be kept" in answer.json()["detail"]
    last = await log.last(job_filter(job_id))
    assert last is not None
    assert isinstance(last.event, JobCompleted)
