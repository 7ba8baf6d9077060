"""What operators change while the system runs: each change is one event, and a wrong one is none."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.events.runtime import LimitsChanged, PrewarmRequested, PrewarmRequestedData
from shared.events.subjects import PREWARM_WORKERS, RUNTIME_LIMITS, RUNTIME_MODELS
from shared.settings import Settings
from tests.broker import BinaryBroker, free_port
from tests.integration.ingest.service import Ingest, in_thread, running_ingest


async def change(ingest: Ingest, **overrides: Any) -> httpx.Response:
    with ingest.client() as client:
        return await in_thread(client.post, "/api/runtime/limits", json={"overrides": overrides})


async def test_limits_are_changed_one_after_the_other_and_reset(ingest: Ingest, log: JetStreamEventLog) -> None:
    first = await change(ingest, MAX_CONCURRENCY_GLOBAL=4, DAILY_PROCESSING_MINUTES=90.5)
    assert (first.status_code, first.json()["ok"]) == (200, True)
    assert first.json()["overrides"] == {"DAILY_PROCESSING_MINUTES": 90.5, "MAX_CONCURRENCY_GLOBAL": 4}
    second = await change(ingest, MAX_JOBS_HIGH=1.0)
    assert second.json()["overrides"]["MAX_JOBS_HIGH"] == 1
    third = await change(ingest, MAX_CONCURRENCY_GLOBAL=None, DAILY_PROCESSING_MINUTES=None)
    assert third.json()["overrides"] == {"MAX_JOBS_HIGH": 1}
    stored = [record.event for record in await log.read(RUNTIME_LIMITS)]
    assert [event.data.overrides for event in stored if isinstance(event, LimitsChanged)] == [
        {"MAX_CONCURRENCY_GLOBAL": 4, "DAILY_PROCESSING_MINUTES": 90.5},
        {"MAX_JOBS_HIGH": 1},
        {"MAX_CONCURRENCY_GLOBAL": None, "DAILY_PROCESSING_MINUTES": None},
    ]


async def test_changes_at_once_are_all_kept(ingest: Ingest) -> None:
    names = ("MAX_JOBS_LOW", "MAX_JOBS_MEDIUM", "MAX_CONCURRENCY_TTS", "MAX_CONCURRENT")
    answers = await asyncio.gather(*(change(ingest, **{name: 3}) for name in names))
    assert [answer.status_code for answer in answers] == [200] * 4
    in_force = (await change(ingest, MIN_FREE_GB=2.5)).json()["overrides"]
    assert {name: in_force[name] for name in names} == dict.fromkeys(names, 3)


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        ({"MAX_CONCURRENCY": 1}, "unknown_limit"),
        ({"RETRY_MAX": 1}, "unknown_limit"),
        ({"MAX_JOBS_HIGH": -1}, "invalid_limit"),
        ({"MAX_JOBS_HIGH": 1.5}, "invalid_limit"),
        ({"MAX_JOBS_HIGH": 10**17}, "invalid_limit"),
        ({"MAX_JOBS_HIGH": True}, "invalid_request"),
        ({"MAX_JOBS_HIGH": "1"}, "invalid_request"),
        ({}, "invalid_request"),
        ({"MAX_JOBS_LOW": 2, "MAX_JOBS_HIGH": -1}, "invalid_limit"),
    ],
)
async def test_what_is_no_limit_changes_nothing(
    ingest: Ingest, log: JetStreamEventLog, overrides: dict[str, Any], code: str
) -> None:
    before = await log.last(RUNTIME_LIMITS)
    answer = await change(ingest, **overrides)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert await log.last(RUNTIME_LIMITS) == before


async def test_nan_is_no_limit(ingest: Ingest) -> None:
    with ingest.client() as client:
        body = b'{"overrides": {"MIN_FREE_GB": NaN}}'
        answer = await in_thread(
            client.post, "/api/runtime/limits", content=body, headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 422


async def test_a_prewarm_is_an_event_before_the_workers_hear_of_it(
    ingest: Ingest, log: JetStreamEventLog, own_broker: BinaryBroker
) -> None:
    client = await connect(Settings(nats_url=own_broker.url), "test-worker")
    try:
        heard = await client.subscribe(PREWARM_WORKERS)
        await client.flush()
        with ingest.client() as http:
            answer = await in_thread(http.post, "/api/runtime/models/prewarm", params={"preset": "low"})
        told = PrewarmRequestedData.model_validate_json((await heard.next_msg(5)).data)
    finally:
        await client.close()
    assert answer.status_code == 202
    assert answer.json() == {"ok": True, "task_id": told.task, "preset": "low"}
    stored = await log.last(RUNTIME_MODELS)
    assert stored is not None
    assert isinstance(stored.event, PrewarmRequested)
    assert stored.event.data == told


async def test_an_unknown_preset_is_refused(ingest: Ingest, log: JetStreamEventLog) -> None:
    before = await log.last(RUNTIME_MODELS)
    with ingest.client() as http:
        answer = await in_thread(http.post, "/api/runtime/models/prewarm", params={"preset": "ultra"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert await log.last(RUNTIME_MODELS) == before


async def test_without_the_broker_nothing_is_accepted(tmp_path: Path) -> None:
    with running_ingest(tmp_path / "data", f"nats://127.0.0.1:{free_port()}", ready=False) as away:
        for path, body in (
            ("/api/runtime/limits", {"overrides": {"MAX_JOBS_LOW": 1}}),
            ("/api/runtime/models/prewarm?preset=low", None),
            ("/api/jobs/0192f0c1-2b3c-7d4e-8f50-61728394a5b6/rerun", None),
        ):
            with away.client() as client:
                answer = await in_thread(client.post, path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (503, "log_unavailable"), path
            assert answer.headers["retry-after"]


async def test_the_openapi_document_has_an_example_of_everything(ingest: Ingest) -> None:
    with ingest.client() as client:
        document = (await in_thread(client.get, "/api/ingest.json")).json()
    schemas = document["components"]["schemas"]
    assert schemas["LimitsChange"]["properties"]["overrides"]["examples"]
    assert schemas["ControlAnswer"]["properties"]["run"]["examples"] == [1]
    assert "429" in document["paths"]["/api/jobs"]["post"]["responses"]
    for path in ("/api/runtime/limits", "/api/runtime/models/prewarm", "/api/jobs/{job_id}/kill"):
        assert "503" in document["paths"][path]["post"]["responses"]
