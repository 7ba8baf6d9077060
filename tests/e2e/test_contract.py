"""What others build on: events that validate, a stock client that follows a job, files, ranges and live updates."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import nats
import pytest
from jsonschema import Draft202012Validator
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from tests import local_http
from tests.dubbed_sample import Dub

ROOT = Path(__file__).parents[2]
GRAPH = ["audio", "transcribe", "translate", "tts", "mix", "mux"]


async def read_only_history(dub: Dub) -> list[tuple[int, dict[str, Any]]]:
    """docs/events.md, and nothing of Dubline: a stock client with the read-only credentials."""
    client = await nats.connect(
        f"nats://127.0.0.1:{dub.system.broker_port}",
        user="reader",
        password=dub.system.reader_password,
        inbox_prefix=b"_INBOX_reader",
    )
    try:
        js, subject, seq = client.jetstream(), f"dub.evt.job.{dub.id}.>", 0
        events = []
        while True:
            try:
                message = await js.get_msg("DUB_EVT", seq + 1, subject=subject, next=True, direct=True)
            except NotFoundError:
                return events
            assert message.seq is not None
            assert message.data is not None
            seq = message.seq
            events.append((seq, json.loads(message.data)))
    finally:
        await client.close()


async def test_a_stock_client_follows_a_job_by_the_page_alone(dub: Dub) -> None:
    events = await read_only_history(dub)
    types = [event["type"] for _, event in events]
    assert types[0] == "dubline.job.submitted.v1"
    assert types[-1] == "dubline.job.completed.v1"
    for stage in GRAPH:
        mine = [e["type"].split(".")[2] for _, e in events if e["data"].get("stage") == stage]
        assert mine == ["claimed", "completed"]
    page = (ROOT / "docs" / "events.md").read_text()
    for words in ("_INBOX_reader", "DUB_EVT", "next=True, direct=True", "secrets/nats-reader", "ports.nats"):
        assert words in page


async def test_the_pages_own_example_runs(dub: Dub) -> None:
    page = (ROOT / "docs" / "events.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert code
    namespace: dict[str, Any] = {}
    exec(compile(code[1], "docs/events.md", "exec"), namespace)
    follow = namespace["follow"](dub.system.broker_port, dub.system.reader_password, dub.id)
    await asyncio.wait_for(follow, 20)


async def test_every_event_of_a_real_run_validates_against_its_published_schema(dub: Dub) -> None:
    for _, event in await read_only_history(dub):
        schema = json.loads((ROOT / "docs" / "schemas" / f"{event['type']}.json").read_text())
        Draft202012Validator(schema).validate(event)


async def test_all_events_of_a_job_belong_together_and_name_their_cause(dub: Dub) -> None:
    events = [event for _, event in await read_only_history(dub)]
    assert {event["correlationid"] for event in events} == {events[0]["id"]}
    ids = {event["id"] for event in events}
    assert all(event["causationid"] in ids for event in events if ".stage." in event["type"])


@pytest.mark.parametrize("manifest", ["job", *GRAPH])
def test_every_manifest_of_a_real_run_validates(dub: Dub, manifest: str) -> None:
    name = "job-manifest.v1" if manifest == "job" else "stage-manifest.v1"
    schema = json.loads((ROOT / "docs" / "schemas" / f"{name}.json").read_text())
    Draft202012Validator(schema).validate(dub.manifest(manifest))


async def test_the_read_only_account_cannot_write(dub: Dub) -> None:
    errors: list[str] = []

    async def on_error(error: Exception) -> None:
        errors.append(str(error))

    client = await nats.connect(
        f"nats://127.0.0.1:{dub.system.broker_port}", user="reader", password=dub.system.reader_password,
        inbox_prefix=b"_INBOX_reader", error_cb=on_error,
    )  # fmt: skip
    with pytest.raises(NatsError):
        await client.jetstream(timeout=1).publish(f"dub.evt.job.{dub.id}.lifecycle", b"{}")
    await client.flush()
    assert any("permissions violation" in error.lower() for error in errors)
    await client.close()


def test_e8_no_event_and_no_log_line_carries_what_was_said(dub: Dub) -> None:
    said = [" ".join(segment.text.split()[:6]) for segment in dub.translation.segments]
    said += [" ".join(segment.text.split()[:6]) for segment in dub.transcript.segments]
    logs = list(dub.system.data.rglob("*.log")) + list((dub.base / "logs").rglob("*"))
    texts = [path.read_text(errors="replace") for path in logs if path.is_file()]
    events = [json.dumps(event, ensure_ascii=False) for _, event in asyncio.run(read_only_history(dub))]
    for sentence in said:
        assert not any(sentence in text for text in texts + events)


def test_files_are_listed_and_seekable(dub: Dub) -> None:
    files = {item["kind"]: item for item in dub.system.get(f"/api/jobs/{dub.id}/files")["files"]}
    assert {"mkv", "mp4", "subs"} <= set(files)
    mp4 = files["mp4"]
    whole = dub.artifact("mux", "dub_mp4").read_bytes()
    answer = local_http.get(dub.system.url + mp4["url"], headers={"Range": "bytes=1000-1999"})
    assert answer.status_code == 206
    assert answer.content == whole[1000:2000]
    assert answer.headers["content-range"] == f"bytes 1000-1999/{len(whole)}"
    assert answer.headers["content-type"] == "video/mp4"


def test_live_updates_resume_after_the_last_event_id(dub: Dub) -> None:
    def ids(last: str) -> list[int]:
        found: list[int] = []
        headers = {"Last-Event-ID": last}
        with local_http.stream(
            "GET", f"{dub.system.url}/api/jobs/{dub.id}/events", headers=headers, timeout=10
        ) as stream:
            for line in stream.iter_lines():
                if line.startswith("id:"):
                    found.append(int(line[3:]))
                if "dubline.job.completed.v1" in line:
                    return found
        return found

    everything = ids("0")
    assert len(everything) == 2 + 2 * len(GRAPH) + 1
    assert ids(str(everything[4])) == everything[5:]
