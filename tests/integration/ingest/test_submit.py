"""A submitted video becomes exactly one job, whatever its file is called and however often it is sent."""

# ruff: noqa: ASYNC240 -- a test may wait for a small file or a quick answer

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.ingest.naming import clean_title
from shared.eventlog.jetstream import JetStreamEventLog
from shared.events.subjects import job_filter
from shared.events.types import JobSubmitted
from tests import local_http
from tests.integration.ingest import videos
from tests.integration.ingest.service import Ingest, in_thread

pytestmark = pytest.mark.usefixtures("worker")


async def submission(log: JetStreamEventLog, answer: httpx.Response) -> JobSubmitted:
    assert answer.status_code in {200, 202}, answer.text
    (record,) = await log.read(job_filter(answer.json()["id"]))
    assert isinstance(record.event, JobSubmitted)
    return record.event


async def test_a_video_becomes_a_job(ingest: Ingest, log: JetStreamEventLog, video: Path) -> None:
    answer = await in_thread(ingest.submit, video, name="My film.mp4", src_lang="en", mode="low")
    assert answer.status_code == 202
    job_id = answer.json()["id"]
    assert answer.json() == {"id": job_id, "state": "QUEUED", "url": f"/api/jobs/{job_id}"}
    assert answer.headers["location"] == f"/api/jobs/{job_id}"
    data = (await submission(log, answer)).data
    assert (data.title, data.stem, data.src_lang, data.tgt_lang, data.mode) == (
        "My film.mp4",
        "My film",
        "en",
        "pt",
        "low",
    )
    source = ingest.layout.input / data.source.path
    assert source.read_bytes() == video.read_bytes()
    assert data.source.sha256 == hashlib.sha256(video.read_bytes()).hexdigest()
    assert source.name.startswith("up_")
    assert source.suffix == ".mp4"
    pointer = ingest.layout.pointer(job_id)
    assert Path((pointer / "target.txt").read_text().strip()) == ingest.layout.output / data.base_dir
    assert (ingest.layout.output / data.base_dir).is_dir()
    assert list(ingest.layout.uploads.glob("*.part")) + list(ingest.layout.uploads.glob("*.json")) == []


async def test_two_jobs_of_one_name_keep_apart(ingest: Ingest, log: JetStreamEventLog, video: Path) -> None:
    first = await submission(log, await in_thread(ingest.submit, video, name="twice.mp4"))
    second = await submission(log, await in_thread(ingest.submit, video, name="twice.mp4"))
    assert first.subject != second.subject
    assert first.data.base_dir != second.data.base_dir
    assert first.data.source.path != second.data.source.path


@pytest.mark.parametrize(
    "name",
    [
        "with spaces.mp4",
        "quo\"tes 'n' all.mp4",
        "line\nbreak\r\n.mp4",
        "../../../../escape.mp4",
        "..",
        "n" * 251 + ".mp4",
        "\u05e1\u05e8\u05d8 \u202e4pm.mp4",
        "-rf ; $(reboot) `id` | x.mp4",
        "nul\0.mp4",
        "_state",
        "no extension at all",
        "CON.mp4.exe",
        "\U0001f3ac.mp4",
    ],
)
async def test_any_name_is_only_a_title(ingest: Ingest, log: JetStreamEventLog, video: Path, name: str) -> None:
    data = (await submission(log, await in_thread(ingest.submit, video, name=name))).data
    assert data.title == clean_title(name)
    base = ingest.layout.output / data.base_dir
    assert base.parent == ingest.layout.output
    assert base.is_dir()
    assert base != ingest.layout.state


async def test_content_decides_not_the_extension(ingest: Ingest, log: JetStreamEventLog, tmp_path: Path) -> None:
    data = (await submission(log, await in_thread(ingest.submit, videos.mkv(tmp_path), name="movie.mp4"))).data
    assert data.source.path.endswith(".mkv")


async def test_fields_may_follow_the_file(ingest: Ingest, log: JetStreamEventLog, video: Path) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n' + video.read_bytes()
        + b'\r\n--b\r\nContent-Disposition: form-data; name="tgt_lang"\r\n\r\npt\r\n--b--\r\n'
    )  # fmt: skip
    with ingest.client() as client:
        answer = await in_thread(
            client.post, "/api/jobs", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
        )
    assert (await submission(log, answer)).data.tgt_lang == "pt"


async def test_a_file_of_the_input_folder_becomes_an_independent_job(
    ingest: Ingest, log: JetStreamEventLog, video: Path
) -> None:
    original = ingest.layout.input / "films" / "a film.mp4"
    original.parent.mkdir(parents=True, exist_ok=True)
    original.write_bytes(video.read_bytes())
    body = {"video_path": "films/a film.mp4", "tgt_lang": "pt", "idempotency_key": "by-path"}
    with ingest.client() as client:
        answer = await in_thread(client.post, "/api/jobs", json=body)
        data = (await submission(log, answer)).data
        original.write_bytes(b"changed")
        original.unlink()
        again = await in_thread(client.post, "/api/jobs", json=body)
    assert data.title == "a film.mp4"
    assert (ingest.layout.input / data.source.path).read_bytes() == video.read_bytes()
    assert (again.status_code, again.json()["id"]) == (200, answer.json()["id"])


async def test_a_retry_with_its_key_gets_the_first_job(ingest: Ingest, log: JetStreamEventLog, video: Path) -> None:
    first = await in_thread(ingest.submit, video, key="retry")
    there = ingest.leftovers()
    again = await in_thread(ingest.submit, video, key="retry")
    as_field = await in_thread(ingest.submit, video, idempotency_key="retry")
    assert [a.status_code for a in (first, again, as_field)] == [202, 200, 200]
    assert len({a.json()["id"] for a in (first, again, as_field)}) == 1
    assert ingest.leftovers() == there
    assert (await submission(log, first)).data.body_fingerprint


@pytest.mark.parametrize("change", [{"tgt_lang": "en"}, {"name": "other.mp4"}, {"mode": "high"}])
async def test_a_key_does_not_serve_another_submission(ingest: Ingest, video: Path, change: dict[str, str]) -> None:
    key = f"mismatch {change}"
    first = await in_thread(ingest.submit, video, key=key)
    there = ingest.leftovers()
    answer = await in_thread(ingest.submit, video, key=key, **change)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_mismatch")
    assert answer.json()["id"] == first.json()["id"]
    assert ingest.leftovers() == there


async def test_fifty_submissions_at_once_with_one_key_make_one_job(
    ingest: Ingest, log: JetStreamEventLog, video: Path
) -> None:
    there = set(ingest.leftovers())
    form: dict[str, Any] = {"files": {"file": ("race.mp4", video.read_bytes())}, "data": {"tgt_lang": "pt"}}
    limits = httpx.Limits(max_connections=50)
    async with local_http.async_client(base_url=ingest.url, timeout=120, trust_env=False, limits=limits) as client:
        calls = [client.post("/api/jobs", headers={"Idempotency-Key": "race"}, **form) for _ in range(50)]
        answers = await asyncio.gather(*calls)
    assert sorted(a.status_code for a in answers) == [200] * 49 + [202]
    assert len({a.json()["id"] for a in answers}) == 1
    data = (await submission(log, answers[0])).data
    made = set(ingest.leftovers()) - there
    pointer = ingest.layout.pointer(answers[0].json()["id"])
    wanted = {ingest.layout.input / data.source.path, ingest.layout.output / data.base_dir, pointer}
    wanted |= {pointer / name for name in ("target.txt", "job_id.txt", "video.txt")}
    wanted.add(ingest.layout.output / data.base_dir / ".job")
    assert made - {str(pointer.parent)} == {str(path) for path in wanted}, "the 49 others left nothing"


async def test_control_follows_the_aggregate(ingest: Ingest, log: JetStreamEventLog, video: Path) -> None:
    job = (await in_thread(ingest.submit, video)).json()["id"]

    async def told(verb: str) -> tuple[int, str]:
        with ingest.client() as client:
            answer = await in_thread(client.post, f"/api/jobs/{job}/{verb}")
        return answer.status_code, answer.json()["state"]

    assert await told("resume") == (409, "QUEUED")
    assert await told("pause") == (200, "PAUSED")
    assert await told("pause") == (409, "PAUSED")
    assert await told("resume") == (200, "QUEUED")
    assert await told("cancel") == (200, "CANCELED")
    assert await told("cancel") == (409, "CANCELED")
    types = [record.event.type.split(".")[2] for record in await log.read(job_filter(job)) if record.event]
    assert types == ["submitted", "paused", "resumed", "canceled"]


async def test_languages(ingest: Ingest) -> None:
    with ingest.client() as client:
        answer = (await in_thread(client.get, "/api/languages")).json()
    assert (answer["sources"], answer["targets"]) == (["en", "pt"], ["en", "pt"])
    assert answer["pairs"][0] == {"source": "en", "target": "pt", "route": ["bergamot"]}
    assert answer["engines"][0]["name"] == "bergamot"
