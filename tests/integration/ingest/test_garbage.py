"""Whatever is sent, the answer is a refusal in words: never a 5xx, an event, or a connection that ends."""

import socket
from typing import Any

import httpx
import pytest

from shared.eventlog.jetstream import JetStreamEventLog
from shared.identity import uuid7
from tests import local_http
from tests.factories import submitted
from tests.integration.ingest.service import Ingest, all_events, in_thread

JOB = "/api/jobs/0192f0c1-2b3c-7d4e-8f50-61728394a5b6"
SURROGATE = rb'"\ud800"'
DEEP = b"[" * 60_000
LONG_NUMBER = b"9" * 5000
WRITES = [
    ("POST", "/api/jobs", b"video_path"),
    ("PUT", f"{JOB}/tags", b"tags"),
    ("POST", f"{JOB}/visibility", b"visibility"),
    ("POST", f"{JOB}/priority", b"priority"),
    ("POST", "/api/projects", b"name"),
    ("PUT", "/api/projects/proj_0123456789abcdef", b"default_preset_id"),
    ("POST", "/api/presets", b"name"),
    ("PUT", "/api/presets/preset_0123456789abcdef", b"name"),
    ("POST", "/api/webhooks", b"url"),
    ("PUT", "/api/webhooks/hook_0123456789abcdef", b"url"),
    ("POST", "/api/runtime/limits", b"overrides"),
]
BODIES = [
    b"", b"{", b"null", b"0", b'"text"', b"[]", b"{}", b"\xff\xfe", b"NaN", DEEP, LONG_NUMBER,
    b"{%s:1}" % SURROGATE, b'{"@":%s}' % SURROGATE, b'{"@":%s}' % LONG_NUMBER, b'{"@":1e999}', b'{"@":NaN}',
    b'{"@":"\\u0000"}', b'{"@":{"@":%s}}' % SURROGATE, b'{"@":[%s]}' % SURROGATE, b'{"@":{%s:1}}' % SURROGATE,
    b'{"@":"x","@\\u0000":1}', b'{"@":true,"@":null}',
]  # fmt: skip


def is_refusal(answer: httpx.Response) -> None:
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code


def made_files(ingest: Ingest) -> list[str]:
    """But for the key of webhooks, which is made before the first of them is looked at."""
    return [path for path in ingest.leftovers() if not path.startswith(str(ingest.layout.secrets))]


@pytest.mark.parametrize(("method", "path", "member"), WRITES)
async def test_bodies_of_every_kind(
    ingest: Ingest, log: JetStreamEventLog, method: str, path: str, member: bytes
) -> None:
    before, there = await all_events(log), made_files(ingest)
    with ingest.client() as client:
        for body in BODIES:
            content = body.replace(b"@", member)
            answer = await in_thread(
                client.request, method, path, content=content, headers={"Content-Type": "application/json"}
            )
            is_refusal(answer)
    assert (await all_events(log), made_files(ingest)) == (before, there)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/jobs", b'{"video_path":"a","idempotency_key":"\\ud800"}'),
        ("/api/jobs", b'{"video_path":"a","project":"\\ud800"}'),
        ("/api/jobs", b'{"video_path":"a","preset_id":"\\ud800"}'),
        ("/api/jobs", b'{"video_path":"a","overrides":{"asr_model":"\\ud800"}}'),
        ("/api/jobs", b'{"video_path":"a","overrides":"{}"}'),
        ("/api/jobs", b'{"video_path":"a","priority":"100"}'),
        ("/api/jobs", b'{"video_path":"a","degrade":1}'),
        ("/api/jobs", b'{"video_path":"a","tags":"a,b"}'),
        ("/api/runtime/limits", b'{"overrides":{"MIN_FREE_GB":1},"reason":"\\ud800"}'),
        ("/api/presets", b'{"name":"x","tts_speaker":"\\ud800"}'),
        ("/api/projects", b'{"name":"x","default_preset_id":"\\ud800"}'),
        ("/api/projects", b'{"name":"x","output_subdir":"\\ud800"}'),
    ],
)
async def test_members_that_are_nearly_right(ingest: Ingest, log: JetStreamEventLog, path: str, body: bytes) -> None:
    before = await all_events(log)
    with ingest.client() as client:
        is_refusal(await in_thread(client.post, path, content=body, headers={"Content-Type": "application/json"}))
    assert await all_events(log) == before


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_json_under_another_name(ingest: Ingest, kind: str) -> None:
    with ingest.client() as client:
        answer = await in_thread(
            client.post, "/api/projects", content=b'{"name":"by another name"}', headers={"Content-Type": kind}
        )
    is_refusal(answer)


@pytest.mark.parametrize("length", ["declared", "chunked"])
async def test_a_body_that_nothing_needs_is_refused_before_it_is_read(ingest: Ingest, length: str) -> None:
    body: Any = bytes(70_000) if length == "declared" else iter([bytes(35_000)] * 2)
    with ingest.client() as client:
        answer = await in_thread(client.put, f"{JOB}/tags", content=body)
    is_refusal(answer)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/projects/proj_0123456789abcdef", "DELETE, PUT"),
        ("/api/presets/preset_0123456789abcdef", "DELETE, PUT"),
        (f"{JOB}/tags", "PUT"),
        (JOB, "DELETE"),
        ("/api/jobs", "POST"),
        ("/livez", "GET, HEAD"),
        ("/metrics", "GET, HEAD"),
    ],
)
async def test_another_method_is_told_which_there_are(ingest: Ingest, path: str, methods: str) -> None:
    with ingest.client() as client:
        for method in ("PATCH", "TRACE", "OPTIONS"):
            answer = await in_thread(client.request, method, path)
            is_refusal(answer)
            assert (answer.status_code, answer.headers["allow"]) == (405, methods)


async def test_header_values_that_no_header_should_have(ingest: Ingest, log: JetStreamEventLog) -> None:
    job = uuid7()
    await log.append(submitted(job))
    port = httpx.URL(ingest.url).port
    for header in (b"traceparent: \xff\xfe", b"traceparent: 00-" + b"a" * 8000, b"Idempotency-Key: \xe9\x80"):
        request = b"POST /api/jobs/%s/archive HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(request % (job.encode(), local_http.raw_header().encode() + header))
            assert connection.recv(12) == b"HTTP/1.1 200"


async def test_the_document_names_every_refusal_with_an_example(ingest: Ingest) -> None:
    with ingest.client() as client:
        document = (await in_thread(client.get, "/api/ingest.json")).json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                assert answer["description"], (method, path, status)
                if int(status) < 400:  # tus answers with headers alone
                    in_headers = status in ("204", "303") or path.startswith("/api/uploads/tus")
                    assert in_headers or "application/json" in answer["content"], (method, path, status)
                    continue
                told = answer["content"]["application/problem+json"]
                assert told["schema"] == {"$ref": "#/components/schemas/Problem"}
                assert {example["value"]["status"] for example in told["examples"].values()} == {int(status)}
            if path.startswith("/api"):
                assert "summary" in operation, (method, path)
            if "{" in path:
                assert {"404"} <= operation["responses"].keys()
