"""What listening clients are told, and what the library remembers for them: never more than a bound."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from services.library import hub as hub_module
from services.library.committed import Committed
from services.library.hub import Hub, Subscription, frame
from services.library.live import LiveProgress
from shared.eventlog.port import Recorded
from shared.events.access import AuditRecorded, UploadCompleted, UploadCreated, UploadRemoved, UserSettingsSaved
from shared.events.library import (
    JobDeleted,
    PresetSaved,
    ProjectSaved,
    WebhookDeleted,
    WebhookSaved,
    WebhookSendRequested,
)
from shared.events.runtime import SchedulerTookOver
from shared.events.subjects import event_subject
from shared.events.types import Event, JobCompleted
from shared.identity import uuid7
from shared.telemetry import Progress
from tests.factories import claimed, event, submitted


def recorded(seq: int, what: Event) -> Recorded:
    return Recorded.of(seq, event_subject(what), what.encode())


def publish(hub: Hub, *batch: Recorded, **rows: bytes) -> None:
    hub.publish(Committed(batch, rows={job_id.replace("_", "-"): row for job_id, row in rows.items()}))


def told(hub: Hub, job_id: str | None = None, place: int = 0) -> list[int]:
    """Return the sequences that a client is given until it has all."""
    seen = []
    while place < hub.position:
        frames, place = hub.after(place, job_id)
        seen += [item.seq for item in frames]
    return seen


def tts(job_id: str, fraction: float = 0.5) -> Progress:
    return Progress(job_id=job_id, stage="tts", attempt=1, fraction=fraction, message="line 2 of 4")


def running_row(job_id: str) -> bytes:
    stage = {"stage": "tts", "attempt": 1, "status": "claimed"}
    return orjson.dumps({"id": job_id, "state": "RUNNING", "progress": 0.76, "message": "", "stages": [stage]})


def test_one_encoding_serves_all() -> None:
    hub = Hub(LiveProgress())
    publish(hub, recorded(1, submitted()))
    assert hub.after(0)[0][0].wire is hub.after(0)[0][0].wire


def test_a_batch_that_comes_again_is_told_once() -> None:
    hub = Hub(LiveProgress())
    batch = [recorded(seq, submitted()) for seq in (1, 2, 3)]
    publish(hub, *batch[:2])
    publish(hub, *batch)
    assert told(hub) == [1, 2, 3]


def test_a_client_of_one_job_is_woken_and_told_of_it_alone() -> None:
    hub = Hub(LiveProgress())
    mine, other = uuid7(), uuid7()
    clients = [hub.subscribe(job_id) for job_id in (mine, other, None)]
    publish(hub, recorded(1, submitted(mine)))
    assert [client.wake.is_set() for client in clients] == [True, False, True]
    assert (told(hub, mine), told(hub, other), told(hub)) == ([1], [], [1])


CREATED = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "subject", "data", "streamed_as"),
    [
        (ProjectSaved, "proj_0123456789abcdef", {"name": "A"}, "project.saved.v1"),
        (PresetSaved, "preset_0123456789abcdef", {"name": "A"}, "preset.saved.v1"),
        (WebhookSaved, "hook_0123456789abcdef", {"url": "https://example.org/"}, None),
    ],
)
def test_settings_that_pages_show_are_streamed(kind: Any, subject: str, data: Any, streamed_as: str | None) -> None:
    item = frame(recorded(1, event(kind, subject, owner="local", created_at=CREATED, **data)))
    assert (item and item.kind, item and item.job_id) == (streamed_as, "" if streamed_as else None)
    assert item is None or item.about == subject


def test_what_schedulers_and_broken_publishers_say_is_not_streamed_but_moves_the_place() -> None:
    hub = Hub(LiveProgress())
    publish(hub, recorded(1, event(SchedulerTookOver, "s1", holder="h")), Recorded.of(2, "dub.evt.job.x.y", b"{"))
    assert (told(hub), hub.position) == ([], 2)


@pytest.mark.parametrize(
    ("kind", "subject", "data"),
    [
        (AuditRecorded, "u_ann", {"action": "login"}),
        (UploadCreated, "up_1", {"owner": "u_ann", "title": "a", "total_bytes": 1, "expires_at": CREATED}),
        (UploadCompleted, "up_1", {"owner": "u_ann", "title": "a", "total_bytes": 1, "sha256": "ab"}),
        (UploadRemoved, "up_1", {"owner": "u_ann", "reason": "expired"}),
        (UserSettingsSaved, "u_ann", {"mode": "low"}),
        (WebhookDeleted, "hook_1", {}),
        (WebhookSendRequested, "hook_1", {}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_accounts_uploads_and_settings_are_on_no_stream(kind: Any, subject: str, data: Any) -> None:
    hub = Hub(LiveProgress())
    publish(hub, recorded(1, event(kind, subject, **data)))
    assert (told(hub), hub.position) == ([], 1)


def test_an_event_of_several_lines_is_one_line_of_data() -> None:
    what = submitted()
    text = orjson.dumps(orjson.loads(what.encode()), option=orjson.OPT_INDENT_2)
    item = frame(Recorded.of(1, event_subject(what), text))
    assert item
    assert item.wire.count(b"\n") == 3


def test_the_newest_events_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "TAIL_FRAMES", 10)
    hub = Hub(LiveProgress())
    for seq in range(1, 100):
        publish(hub, recorded(seq, submitted()))
        kept = told(hub, place=0)
        assert len(kept) <= 20
        assert hub.covers(kept[0] - 1), "what is told from memory has no gap"
        assert seq <= 20 or not hub.covers(0)
    assert kept[-1] == 99


def test_large_events_are_kept_up_to_a_bound_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "TAIL_BYTES", 10_000)
    hub = Hub(LiveProgress())
    for seq in range(1, 50):
        publish(hub, recorded(seq, submitted(title="x" * 1000)))
        assert sum(len(item.wire) for item in hub.after(0)[0]) <= 20_000
    assert not hub.covers(0)


def test_a_client_takes_a_piece_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "PIECE_BYTES", 1)
    hub = Hub(LiveProgress())
    publish(hub, *(recorded(seq, submitted()) for seq in (1, 2, 3)))
    assert hub.after(0)[1] == 1
    assert told(hub) == [1, 2, 3]


def test_a_place_ahead_of_what_was_handed_on_is_kept() -> None:
    """jobs.db is rebuilt: the client has had these events already."""
    hub = Hub(LiveProgress())
    publish(hub, recorded(1, submitted()))
    assert hub.after(7) == ([], 7)


def test_after_a_restart_the_log_has_what_was_before() -> None:
    hub = Hub(LiveProgress())
    hub.position = 5
    assert (hub.covers(4), hub.covers(5)) == (False, True)


def test_a_row_is_encoded_once_for_each_change() -> None:
    hub = Hub(LiveProgress())
    job = uuid7()
    publish(hub, recorded(1, claimed(job, "tts")), **{job: running_row(job)})
    assert hub.row(job) is hub.row(job)
    assert hub.row(uuid7()) is None, "jobs.db has to be asked"
    publish(hub, recorded(2, claimed(job, "tts", 2)))
    assert hub.row(job) is None, "an event without its row: jobs.db has to be asked"


def test_only_so_many_rows_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "ROWS", 2)
    hub = Hub(LiveProgress())
    jobs = [uuid7() for _ in range(3)]
    for seq, job in enumerate(jobs, 1):
        publish(hub, recorded(seq, submitted(job)), **{job: running_row(job)})
    assert [hub.row(job) is None for job in jobs] == [True, False, False]


async def test_a_row_has_its_live_progress() -> None:
    hub = Hub(LiveProgress())
    job = uuid7()
    publish(hub, recorded(1, claimed(job, "tts")), **{job: running_row(job)})
    hub.publish_progress(tts(job))
    assert orjson.loads(hub.row(job) or b"")["progress"] == 0.855
    publish(hub, recorded(2, event(JobDeleted, job, owner="local", base_dir="film", source="")))
    assert hub.row(job) is None
    hub.close()


async def test_progress_is_told_at_once_and_then_twice_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "PROGRESS_INTERVAL_S", 0.02)
    hub = Hub(LiveProgress())
    client, job, other = hub.subscribe(None), uuid7(), uuid7()
    hub.publish_progress(tts(job, 0.1))
    assert list(client.take_progress()) == [job]
    for fraction in (0.2, 0.3, 0.4):
        hub.publish_progress(tts(job, fraction))
    hub.publish_progress(tts(other))
    assert client.progress == {}, "it waits for the others"
    client.wake.clear()
    await asyncio.wait_for(client.wake.wait(), 5)
    taken = client.take_progress()
    assert list(taken) == [job, other]
    assert b'"fraction":0.4' in taken[job]
    hub.close()


async def test_progress_from_before_an_event_is_not_told_after_it() -> None:
    hub = Hub(LiveProgress())
    client, job = hub.subscribe(None), uuid7()
    hub.publish_progress(tts(job, 0.1))
    hub.publish_progress(tts(job, 0.2))
    publish(hub, recorded(1, event(JobCompleted, job, run=1)))
    assert client.progress == {}
    assert hub._progress == {}
    hub.close()


def test_clients_come_and_go_without_a_trace() -> None:
    hub = Hub(LiveProgress())
    clients = [hub.subscribe(job_id) for job_id in (None, uuid7(), None)]
    assert len(hub) == 3
    for client in clients:
        hub.unsubscribe(client)
        hub.unsubscribe(client)
    assert len(hub) == 0
    assert hub._listening.get("") is None


def test_closing_ends_those_that_are_there_and_those_that_come() -> None:
    hub = Hub(LiveProgress())
    client = hub.subscribe(None)
    hub.close()
    late: Subscription = hub.subscribe(None)
    assert (client.closed, client.wake.is_set(), late.closed) == (True, True, True)
