"""How much one user may send, over a real socket: uploads and pieces a minute; and a scheduler that does not answer."""

import hashlib
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from shared.runtime_state import AdmitRequest
from tests import local_http
from tests.broker import BinaryBroker
from tests.integration.ingest.people import Person, invited
from tests.integration.ingest.service import Ingest, in_thread, running_ingest
from tests.integration.ingest.test_admission import FULL, scheduler
from tests.integration.test_metrics import samples

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": "application/offset+octet-stream"}
PATH = "/api/uploads/tus"
CHUNK = 256 << 10


@pytest.fixture(scope="module")
def ingest(own_broker: BinaryBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    data = tmp_path_factory.mktemp("limits") / "data"
    with running_ingest(data, own_broker.url, UPLOAD_CHUNK_BYTES=str(CHUNK)) as running:
        yield running


def client_of(person: Person) -> httpx.Client:
    headers = {"Authorization": f"Bearer {person.access}"}
    return httpx.Client(base_url=person.url, headers=headers, timeout=60, trust_env=False)


def create(client: httpx.Client, size: int = 10) -> httpx.Response:
    return client.post(PATH, headers=TUS | {"Upload-Length": str(size)})


def test_a_user_begins_30_uploads_a_minute_and_metrics_tell_why_others_were_not(ingest: Ingest):
    before = samples(ingest.url)
    with client_of(invited(ingest, "una", "operator")) as una:
        told = Counter(answer.json().get("quota", answer.json()["code"]) for answer in refused(una, 31))
        assert told == {"open_uploads": 14, "too_many_requests": 1}
        init = una.post("/api/uploads/init", json={"filename": "a.mp4", "total_bytes": 1})
        assert (init.status_code, init.headers["retry-after"] > "0") == (429, True)
    now = samples(ingest.url)
    for name, value in {
        "dub_ingest_uploads_begun_total": 16,
        "dub_ingest_uploads_open": 16,
        "dub_ingest_uploads_open_bytes": 160,
        'dub_ingest_uploads_refused_total{reason="open_uploads"}': 14,
        'dub_ingest_uploads_refused_total{reason="too_many_requests"}': 2,
    }.items():
        assert now[name] - before.get(name, 0) == value, name


def refused(client: httpx.Client, tries: int) -> list[httpx.Response]:
    """Return the refusals among so many tries to begin an upload."""
    answers = [create(client) for _ in range(tries)]
    assert {answer.status_code for answer in answers} == {201, 429}
    return [answer for answer in answers if answer.status_code == 429]


def test_a_user_sends_600_pieces_a_minute_by_either_protocol_and_goes_on_where_it_was(ingest: Ingest):
    before = samples(ingest.url)["dub_ingest_upload_bytes_total"]
    with client_of(invited(ingest, "pia", "operator")) as pia:
        url = create(pia, 1000).headers["Location"]
        for offset in range(600):
            answer = pia.patch(url, headers=BYTES | {"Upload-Offset": str(offset)}, content=b"x")
            assert answer.status_code == 204, answer.text
        over = pia.patch(url, headers=BYTES | {"Upload-Offset": "600"}, content=b"x")
        assert (over.status_code, over.json()["limit"]) == (429, "upload.chunk")
        assert over.headers["Tus-Resumable"] == "1.0.0"
        assert 0 < int(over.headers["retry-after"]) <= 60
        begun = pia.post("/api/uploads/init", json={"filename": "a.mp4", "total_bytes": CHUNK}).json()
        chunk = b"y" * CHUNK
        answer = pia.post(
            f"/api/uploads/{begun['upload_id']}/chunk",
            params={"index": 0, "offset": 0},
            content=chunk,
            headers={"X-Chunk-Sha256": hashlib.sha256(chunk).hexdigest()},
        )
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests"), "it is heard though it sent"
        assert pia.head(url, headers=TUS).headers["Upload-Offset"] == "600"
    assert samples(ingest.url)["dub_ingest_upload_bytes_total"] == before + 600


def test_this_machines_own_key_is_not_counted(ingest: Ingest):
    with ingest.client() as operator:
        for _ in range(40):
            url = create(operator).headers["Location"]
            assert operator.delete(url, headers=TUS).status_code == 204


async def test_a_scheduler_that_refuses_is_obeyed_and_one_that_is_silent_loses_nobodys_upload(
    ingest: Ingest, own_broker: BinaryBroker
):
    with local_http.client(base_url=ingest.url, timeout=60, trust_env=False) as operator:
        async with scheduler(own_broker, FULL.model_dump_json().encode()) as asked:
            full = await in_thread(create, operator, 77)
        assert (full.status_code, full.json()["quota"]) == (429, "max_queued_per_user")
        assert asked == [AdmitRequest(owner="local", job_id=asked[0].job_id, bytes=77, duration_s=0, upload=True)]
        async with scheduler(own_broker, None) as asked:
            assert (await in_thread(create, operator, 78)).status_code == 201
            assert (await in_thread(create, operator, 79)).status_code == 201
        assert [(one.bytes, one.promised) for one in asked] == [(78, 0), (79, 78)]
