"""What the predecessor let happen at its front door, and many clients at once, over real sockets against all services.

Lives here: traps and races that need several services at a time. Does not live here: who may do what
(`test_authorisation`), and traps of one service, which are with its tests (docs/security.md has the list of all).
"""

import asyncio
import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from shared.access.credentials import SESSION_COOKIE
from shared.access.key_rate import REQUESTS_A_MINUTE
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.layout import Layout
from shared.settings import Settings
from tests import local_http
from tests.integration.authorisation_world import browser, open_session
from tests.integration.ingest import videos
from tests.integration.ingest.browser import PASSWORD, account
from tests.integration.ingest.service import all_events
from tests.integration.whole_http import SERVICES, WholeHttp, running_whole

THREADS = 50
ROOM = 3
UPLOAD_BYTES = 1000
BLOCKED_S = 2.0
"""The predecessor's health answered after 171 s (C3, V6); on a loaded machine of 2 cores ours takes milliseconds."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeHttp]:
    with running_whole(tmp_path_factory.mktemp("front")) as running:
        yield running


@pytest.fixture
def operator(whole: WholeHttp) -> Iterator[httpx.Client]:
    """Who holds this machine's key: nothing is counted by the minute, so that quotas alone refuse."""
    with local_http.client(base_url=whole.url("ingest"), timeout=120, trust_env=False) as client:
        yield client


def at_once(ask: Callable[[int], httpx.Response]) -> list[httpx.Response]:
    """Ask from fifty threads, all of which begin together."""
    barrier = threading.Barrier(THREADS)

    def asked(number: int) -> httpx.Response:
        barrier.wait(30)
        return ask(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(asked, range(THREADS)))


def codes(answers: list[httpx.Response]) -> Counter[tuple[int, str]]:
    return Counter((answer.status_code, str(answer.json().get("code", ""))) for answer in answers)


def events_of(whole: WholeHttp) -> Counter[str]:
    async def read() -> list[str]:
        client = await connect(Settings(nats_url=whole.broker.url), "test")
        try:
            return await all_events(JetStreamEventLog(client))
        finally:
            await client.close()

    return Counter(asyncio.run(read()))


def uploaded(whole: WholeHttp, operator: httpx.Client) -> str:
    """Bring the sample as an upload; return its id."""
    video = whole.known.video
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(video))}
    content = {"Content-Type": "application/offset+octet-stream"}
    made = operator.post("/api/uploads/tus", content=video, headers=headers | content)
    assert made.status_code == 201, made.text
    return made.headers["Location"].rsplit("/", 1)[1]


def test_of_many_submissions_at_the_edge_of_a_quota_no_more_get_in_than_there_is_room(
    whole: WholeHttp, operator: httpx.Client
) -> None:
    """A11: the predecessor looked at a list and then wrote, so that everybody who looked in between got in."""
    queued = local_http.get(f"{whole.url('library')}/api/jobs?state=QUEUED&include_archived=1&limit=1").json()["total"]
    before = events_of(whole)["dubline.job.submitted.v1"]
    limits(operator, MAX_QUEUED_PER_USER=queued + ROOM)
    try:
        answers = at_once(lambda _: operator.post("/api/jobs", json={"video_path": whole.known.video_path}))
    finally:
        limits(operator, MAX_QUEUED_PER_USER=None)
    assert codes(answers) == {(202, ""): ROOM, (429, "quota_exceeded"): THREADS - ROOM}
    assert events_of(whole)["dubline.job.submitted.v1"] == before + ROOM


def test_of_fifty_uploads_at_the_edge_of_what_may_be_stored_as_many_begin_as_there_is_room_for(
    whole: WholeHttp, operator: httpx.Client
) -> None:
    """What cannot be stored in the end is refused at its creation, and what was begun has its room for good."""

    def left() -> int:
        told: int = operator.get("/api/settings/left").raise_for_status().json()["stored_bytes"]
        return told

    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(UPLOAD_BYTES)}
    limits(operator, MAX_STORAGE_BYTES_PER_USER=1 << 40)
    stored = (1 << 40) - left()
    limits(operator, MAX_STORAGE_BYTES_PER_USER=stored + ROOM * UPLOAD_BYTES)
    try:
        assert left() == ROOM * UPLOAD_BYTES
        answers = at_once(lambda _: operator.post("/api/uploads/tus", headers=headers))
        assert Counter(answer.status_code for answer in answers) == {201: ROOM, 429: THREADS - ROOM}
        quotas = {answer.json()["quota"] for answer in answers if answer.status_code == 429}
        assert "max_storage_bytes_per_user" in quotas
        assert quotas <= {"max_storage_bytes_per_user", "open_uploads"}, "of those that were not begun yet"
        assert left() == 0
        by_path = operator.post("/api/jobs", json={"video_path": whole.known.video_path})
        assert (by_path.status_code, by_path.json()["quota"]) == (429, "max_storage_bytes_per_user")
        begun = [answer.headers["Location"] for answer in answers if answer.status_code == 201]
        for address in begun:
            assert operator.delete(address, headers={"Tus-Resumable": "1.0.0"}).status_code == 204
        assert left() == ROOM * UPLOAD_BYTES
        one = operator.post("/api/uploads/init", json={"filename": "a.mp4", "total_bytes": ROOM * UPLOAD_BYTES})
        assert one.status_code == 200
        assert operator.delete(f"/api/uploads/{one.json()['upload_id']}").status_code == 204
    finally:
        limits(operator, MAX_STORAGE_BYTES_PER_USER=None)


def test_a_key_asks_each_service_600_times_a_minute_and_this_machines_own_as_often_as_it_likes(
    whole: WholeHttp, operator: httpx.Client
) -> None:
    reading, writing = browser(
        open_session(Layout(whole.data), account(Layout(whole.data), "gatherer", "viewer")).token
    )
    made = httpx.post(f"{whole.url('ingest')}/api/keys", json={}, headers=reading | writing, timeout=60)
    assert made.status_code == 201, made.text
    for service in SERVICES:
        with (
            httpx.Client(base_url=whole.url(service), headers={"X-Api-Key": made.json()["key"]}, timeout=60) as program,
            local_http.client(base_url=whole.url(service), timeout=60, trust_env=False) as own,
        ):
            began, let_in = time.monotonic(), 0
            while (answer := program.get("/not-there")).status_code == 404:
                let_in += 1
                assert let_in < 2 * REQUESTS_A_MINUTE
            most = REQUESTS_A_MINUTE * (1 + (time.monotonic() - began) / 60) + 1
            assert REQUESTS_A_MINUTE <= let_in <= most, service
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
            assert answer.headers["retry-after"] == "1"
            assert own.get("/not-there").status_code == 404
            time.sleep(1)
            assert program.get("/not-there").status_code == 404, "who waits as told is let in"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def limits(operator: httpx.Client, **overrides: int | None) -> None:
    """Change limits, and wait until the scheduler heard of it."""
    operator.post("/api/runtime/limits", json={"overrides": overrides}).raise_for_status()
    time.sleep(0.5)  # it folds the event with its next batch; nothing tells when


def test_of_fifty_submissions_of_one_upload_one_makes_a_job(whole: WholeHttp, operator: httpx.Client) -> None:
    upload = uploaded(whole, operator)
    answers = at_once(lambda _: operator.post("/api/jobs", json={"upload_id": upload}))
    told = codes(answers)
    assert told[202, ""] == 1
    assert {status for status, _ in told} == {202, 409}
    assert {code for _, code in told} <= {"", "upload_in_use", "upload_used"}


def test_of_fifty_completions_of_one_upload_one_is_told_to_the_log(whole: WholeHttp, operator: httpx.Client) -> None:
    """Each client that hears of it hears the same; who comes too often within a minute is told so."""
    before = events_of(whole)["dubline.upload.completed.v1"]
    video = whole.known.video
    begun = operator.post("/api/uploads/init", json={"filename": "film.mp4", "total_bytes": len(video)}).json()
    path, size = f"/api/uploads/{begun['upload_id']}", begun["chunk_bytes"]
    assert operator.post(f"{path}/complete").json()["code"] == "chunks_missing"
    for index in range(begun["total_chunks"]):
        piece = video[index * size : (index + 1) * size]
        params: dict[str, Any] = {"index": index, "offset": index * size}
        headers = {"X-Chunk-Sha256": sha256(piece), "Content-Type": "application/octet-stream"}
        operator.post(f"{path}/chunk", params=params, content=piece, headers=headers).raise_for_status()
    answers = at_once(lambda _: operator.post(f"{path}/complete", json={"final_sha256": sha256(video)}))
    told = codes(answers)
    assert set(told) <= {(200, ""), (429, "too_many_requests")}
    assert {answer.json()["final_sha256"] for answer in answers if answer.is_success} == {sha256(video)}
    assert events_of(whole)["dubline.upload.completed.v1"] == before + 1


def test_of_fifty_approvals_of_one_device_one_counts(whole: WholeHttp) -> None:
    layout, url = Layout(whole.data), whole.url("ingest")
    user = account(layout, "approver", "viewer")
    reading, writing = browser(open_session(layout, user).token)
    with httpx.Client(base_url=url, timeout=60) as device, httpx.Client(base_url=url, timeout=60) as phone:
        begun = device.post("/api/auth/qr/init", json={}).raise_for_status().json()
        body = {"user_code": begun["user_code"], "number": begun["number"]}
        answers = at_once(lambda _: phone.post("/api/auth/qr/approve", json=body, headers=reading | writing))
        told = codes(answers)
        assert told[200, ""] == 1
        assert {code for _, code in told} <= {"", "qr_already_answered", "too_many_requests"}


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../secrets/local-key", "../_state/auth.db", "a/../../secrets/auth-key", "file:///etc/passwd"),
        *("http://127.0.0.1/", "link.mp4", "folder/short.mp4", "..", "\u0000"),
    ],
)
def test_b3_no_request_names_a_file_outside_the_input_folder(
    whole: WholeHttp, operator: httpx.Client, path: str
) -> None:
    folder = Layout(whole.data).input
    for link, target in (("link.mp4", "/etc/passwd"), ("folder", "/etc")):
        if not (folder / link).is_symlink():
            (folder / link).symlink_to(target)
    for address in ("/api/jobs", "/api/jobs/estimate"):
        answer = operator.post(address, json={"video_path": path})
        assert answer.status_code in (404, 422), answer.text
    told = operator.get("/api/files", params={"dir": path})
    assert told.status_code in (404, 422), told.text
    shown = [item["name"] for item in operator.get("/api/files").json()["items"]]
    assert "link.mp4" not in shown
    assert "folder" not in shown


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "key", "session", "authorization"])
def test_a_credential_in_an_address_is_nobodys(whole: WholeHttp, name: str) -> None:
    """Section 5.11: addresses are in logs and histories, so nothing is taken from there."""
    for service in SERVICES:
        address = f"{whole.url(service)}/api/{service}.json"
        assert local_http.get(address).status_code == 200
        assert httpx.get(address, params={name: local_http.local_key()}).status_code == 401


def test_no_other_origin_is_let_read(whole: WholeHttp) -> None:
    foreign = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    for service in (*SERVICES, "gateway"):
        for method in ("GET", "OPTIONS"):
            for path in ("/livez", "/api/jobs", "/api/uploads/tus"):
                answer = local_http.request(method, whole.url(service) + path, headers=foreign)
                assert "access-control-allow-origin" not in answer.headers, (service, method, path)


def test_c3_health_answers_while_passwords_are_hashed_and_videos_checked(
    whole: WholeHttp, operator: httpx.Client
) -> None:
    """Hashing and ffprobe ran on the predecessor's event loop, and nobody else was answered meanwhile."""
    layout, url = Layout(whole.data), whole.url("ingest")
    account(layout, "hasher", "viewer")
    new = [f"never seen {number}.mp4" for number in range(3)]
    for name in new:
        (layout.input / name).write_bytes(videos.other_bytes(whole.known.video))
    body = {"username": "hasher", "password": PASSWORD, "session": True}
    with ThreadPoolExecutor(6) as pool, httpx.Client(base_url=url, timeout=60) as client:
        work = [pool.submit(client.post, "/api/auth/login", json=body) for _ in range(3)]
        work += [pool.submit(operator.post, "/api/jobs", json={"video_path": name}) for name in new]
        longest, answered = 0.0, 0
        while not all(each.done() for each in work):
            began = time.monotonic()
            assert httpx.get(f"{url}/livez", timeout=60).status_code == 200
            longest, answered = max(longest, time.monotonic() - began), answered + 1
        answers = [each.result() for each in work]
    assert [answer.status_code for answer in answers] == [200] * 3 + [202] * 3
    assert all(SESSION_COOKIE in answer.cookies for answer in answers[:3])
    assert answered > 3
    assert longest < BLOCKED_S
