"""Bad input gets a clear refusal and leaves nothing: no event, no file, no directory."""

# ruff: noqa: ASYNC240 -- a test may wait for a small file or a quick answer

import os
import resource
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from shared.eventlog.jetstream import JetStreamEventLog
from shared.problems import CONTENT_TYPE
from tests.broker import BinaryBroker
from tests.integration.ingest import videos
from tests.integration.ingest.service import Ingest, all_events, in_thread, running_ingest

pytestmark = pytest.mark.usefixtures("worker")

Source = bytes | Callable[[Path], Path]


def is_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.headers["content-type"] == CONTENT_TYPE, answer.text
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code), body
    assert body["type"] == f"urn:dubline:problem:{code}"
    assert len(body["detail"]) > 20, "the detail says what is wrong and what to do"


async def refused(
    ingest: Ingest, log: JetStreamEventLog, status: int, code: str, video: bytes, **options: str
) -> httpx.Response:
    before, there = await all_events(log), ingest.leftovers()
    answer = await in_thread(ingest.submit, video, **options)
    is_problem(answer, status, code)
    assert await all_events(log) == before
    assert ingest.leftovers() == there
    return answer


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (b"this is just text, whatever its name says", "not_a_video"),
        (b"%PDF-1.7 " + bytes(4000), "not_a_video"),
        (os.urandom(200_000), "not_a_video"),
        (b"", "empty_file"),
        (videos.PLAYLIST, "not_a_video"),
        (videos.CONCAT, "not_a_video"),
        (videos.SCRIPT, "not_a_video"),
        (videos.SVG, "not_a_video"),
        (videos.without_audio, "no_audio"),
        (videos.without_speech, "no_speech"),
        (videos.truncated, "truncated_file"),
    ],
    ids=["text", "pdf", "noise", "empty", "playlist", "concat", "script", "svg", "no-audio", "no-speech", "truncated"],
)
async def test_what_cannot_be_dubbed(
    ingest: Ingest, log: JetStreamEventLog, tmp_path: Path, source: Source, code: str
) -> None:
    content = source if isinstance(source, bytes) else source(tmp_path).read_bytes()
    await refused(ingest, log, 422, code, content)


async def test_the_target_is_the_source(ingest: Ingest, log: JetStreamEventLog, video: Path) -> None:
    await refused(ingest, log, 422, "same_language", video.read_bytes(), src_lang="pt")


@pytest.mark.parametrize("fields", [{"tgt_lang": "de"}, {"src_lang": "ja"}, {"src_lang": "pt", "tgt_lang": "fr"}])
async def test_a_pair_that_nobody_serves_is_refused_with_those_that_are_served(
    ingest: Ingest, log: JetStreamEventLog, video: Path, fields: dict[str, str]
) -> None:
    answer = await refused(ingest, log, 422, "unsupported_pair", video.read_bytes(), **fields)
    assert answer.json()["pairs"] == [{"source": "en", "target": "pt"}, {"source": "pt", "target": "en"}]
    assert "en → pt, pt → en" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"tgt_lang": "klingon"}, "invalid_language"),
        ({"mode": "best"}, "invalid_request"),
        ({"colour": "blue"}, "invalid_request"),
        ({"idempotency_key": "k" * 201}, "invalid_request"),
    ],
)
async def test_fields_that_mean_nothing(
    ingest: Ingest, log: JetStreamEventLog, video: Path, fields: dict[str, str], code: str
) -> None:
    await refused(ingest, log, 422, code, video.read_bytes(), **fields)


async def test_a_full_disk_while_the_upload_is_written(ingest: Ingest, log: JetStreamEventLog, video: Path) -> None:
    """The kernel refuses the write (RLIMIT_FSIZE, EFBIG), half-way through the file."""
    pid, content = ingest.process.pid, video.read_bytes()
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (len(content) // 2, before[1]))
    try:
        await refused(ingest, log, 507, "disk_full", content)
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    answer = await in_thread(ingest.submit, content)
    assert answer.status_code == 202, "with room again, the same video is accepted"


async def test_a_disk_below_its_floor_takes_no_upload(
    own_broker: BinaryBroker, log: JetStreamEventLog, video: Path, tmp_path: Path
) -> None:
    """By the setting MIN_FREE_GB."""
    with running_ingest(tmp_path / "data", own_broker.url, MIN_FREE_GB="1000000000") as full:
        await refused(full, log, 507, "disk_full", video.read_bytes())


async def test_a_video_above_the_limit(
    own_broker: BinaryBroker, log: JetStreamEventLog, video: Path, tmp_path: Path
) -> None:
    with running_ingest(tmp_path / "data", own_broker.url, MAX_UPLOAD_MB="1") as small:
        await refused(small, log, 413, "upload_too_large", bytes(2 << 20))
        await refused(small, log, 413, "upload_too_large", bytes(30 << 20))  # by its Content-Length, unread


async def test_a_video_above_the_longest_duration(
    own_broker: BinaryBroker, log: JetStreamEventLog, video: Path, tmp_path: Path
) -> None:
    with running_ingest(tmp_path / "data", own_broker.url, MAX_VIDEO_MIN="0") as short:
        await refused(short, log, 422, "too_long", video.read_bytes())


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("multipart/form-data; boundary=b", b"--b\r\n", 400, "malformed_form"),
        ("multipart/form-data", b"", 400, "malformed_form"),
        ("multipart/form-data; boundary=b",
         b'--b\r\ncontent-disposition: form-data; name="tgt_lang"\r\n\r\npt\r\n--b--\r\n', 422, "no_file"),
        ("application/json", b"{", 400, "malformed_json"),
        ("application/json", b"[]", 422, "invalid_request"),
        ("application/json", b'{"tgt_lang":"pt"}', 422, "invalid_request"),
        ("application/json", b'{"video_path":"../x.mp4","tgt_lang":"pt"}', 404, "video_not_found"),
        ("application/json", b'{"video_path":"' + bytes(8 << 20) + b'"}', 413, "body_too_large"),
        ("text/plain", b"hello", 415, "unsupported_body"),
    ],
)  # fmt: skip
async def test_bodies_that_are_no_submission(
    ingest: Ingest, log: JetStreamEventLog, content_type: str, body: bytes, status: int, code: str
) -> None:
    before, there = await all_events(log), ingest.leftovers()
    with ingest.client() as client:
        answer = await in_thread(client.post, "/api/jobs", content=body, headers={"Content-Type": content_type})
    is_problem(answer, status, code)
    assert await all_events(log) == before
    assert ingest.leftovers() == there


@pytest.mark.parametrize("path", ["/api/jobs/0192f0c1-2b3c-7d4e-8f50-61728394a5b6", "/api/jobs/*", "/api/jobs/%3E"])
@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
async def test_a_job_that_does_not_exist(ingest: Ingest, path: str, verb: str) -> None:
    with ingest.client() as client:
        is_problem(await in_thread(client.post, f"{path}/{verb}"), 404, "job_not_found")


async def test_a_page_of_another_site_may_not_submit(ingest: Ingest, log: JetStreamEventLog, video: Path) -> None:
    before, there = await all_events(log), ingest.leftovers()
    with ingest.client() as client:
        for headers in ({"Origin": "https://evil.org"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = await in_thread(
                client.post, "/api/jobs", files={"file": ("a.mp4", video.read_bytes())}, headers=headers
            )
            is_problem(answer, 403, "cross_site_request")
        is_problem(await in_thread(client.get, "/livez", headers={"Host": "evil.org"}), 403, "host_not_allowed")
    assert await all_events(log) == before
    assert ingest.leftovers() == there
