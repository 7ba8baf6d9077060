"""The dispatcher when something fails: receivers, disks, logs, and the process itself."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.library.webhooks import dispatcher as module
from services.library.webhooks.retries import Schedule
from services.library.webhooks.sender import Sender
from shared.events.library import (
    WebhookSaved,
    WebhookSendRequested,
)
from shared.events.subjects import webhook_subject
from shared.webhook_targets import Rules
from tests.broker import free_port
from tests.unit.library.webhook_library import HOOK, OTHER, Library, asked, saved, story
from tests.webhook_receiver import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


async def test_a_receiver_that_is_down_gets_everything_when_it_is_up(library: Library) -> None:
    port = free_port()
    async with library.running():
        await library.happen(saved(f"http://127.0.0.1:{port}/hook"), *story(), *story())
        await library.tried(2)
        with receiving(port) as receiver:
            items = await library.settled("delivered", "delivered")
        assert sorted(message.id for message in receiver.got) == sorted(item["id"] for item in items)
        assert all(item["attempts"][0]["error"].startswith("ConnectError") for item in items)
        counts = await library.dispatcher.counts()
        assert (counts.delivered, counts.failed, counts.pending) == (2, 0, 0)
        assert counts.attempts["ok"] == 2
        assert counts.attempts["error"] >= 4


async def test_every_attempt_has_the_same_id_and_body_and_a_new_time(library: Library, receiver: Receiver) -> None:
    receiver.answers = [(500, {}), (429, {"retry-after": "0"}), (302, {"location": "http://169.254.169.254/"})]
    start = time.time()
    clock = iter(range(1, 10_000))
    async with library.running(clock=lambda: start + next(clock)):
        await library.happen(saved(receiver.url), *story())
        first, *others = await receiver.messages(4)
        (item,) = await library.settled("delivered")
    assert {(message.id, message.body) for message in others} == {(first.id, first.body)}
    assert len({message.headers["webhook-timestamp"] for message in receiver.got}) == 4
    assert [attempt["status"] for attempt in item["attempts"]] == [500, 429, 302, 204]
    for message in receiver.got:
        library.verify(message)


async def test_it_is_given_up_after_the_last_attempt(library: Library, receiver: Receiver) -> None:
    receiver.status = 500
    async with library.running(Schedule(backoff=(0.01, 0.01), jitter=lambda: 1.0)):
        await library.happen(saved(receiver.url), *story())
        (item,) = await library.settled("failed")
        assert [attempt["status"] for attempt in item["attempts"]] == [500, 500, 500]
        assert item["next_attempt_at"] is None
        assert (await library.dispatcher.counts()).failed == 1


async def test_410_disables_the_webhook_in_the_log_for_everybody_to_see(library: Library, receiver: Receiver) -> None:
    receiver.status = 410
    async with library.running():
        await library.happen(saved(receiver.url), asked())  # a test request before must not be in the way
        await library.settled("failed")
        newest = library.log.records[-1].event
        assert isinstance(newest, WebhookSaved)
        assert (newest.data.enabled, newest.data.disabled_because) == (False, "The receiver answered 410 Gone.")
        assert newest.actor == "library"
        await library.commit()
        await library.happen(*story())
        await library.happen(asked())
        await library.settled("failed", "failed")  # the test; the job was not told
        assert len(library.log.records) == library.committed


async def test_a_webhook_that_only_fails_for_days_is_disabled(library: Library, receiver: Receiver) -> None:
    receiver.status = 500
    now = time.time()
    days = iter(range(1000))
    schedule = Schedule(backoff=(0.0,) * 50, jitter=lambda: 1.0)
    async with library.running(schedule, clock=lambda: now + next(days) * 3600.0):
        await library.happen(saved(receiver.url), *story())
        await library.until(lambda _: len(library.log.records) > library.committed)
        newest = library.log.records[-1].event
        assert isinstance(newest, WebhookSaved)
        assert newest.data.disabled_because.startswith("Every attempt since ")
        await library.commit()
        (item,) = await library.settled("failed")
        assert any("Every attempt since" in attempt["error"] for attempt in item["attempts"])


async def test_a_change_by_its_owner_meanwhile_wins_over_disabling(library: Library, receiver: Receiver) -> None:
    hold = receiver.hold = threading.Event()
    receiver.status = 410
    async with library.running():
        await library.happen(saved(receiver.url), *story())
        await receiver.messages(1)
        await library.append(saved(receiver.url + "/new"), asked())
        hold.set()
        await library.settled("failed")
        last = await library.log.last(webhook_subject(HOOK))
        assert last is not None
        assert isinstance(last.event, WebhookSendRequested)


async def test_a_slow_receiver_holds_up_nobody_else(library: Library, receiver: Receiver) -> None:
    with receiving(hold=threading.Event()) as slow:
        async with library.running():
            await library.happen(saved(slow.url, OTHER), saved(receiver.url))
            for _ in range(10):
                await library.happen(*story())
            await library.settled(*["delivered"] * 10)
            assert len(slow.got) == module.PER_WEBHOOK
            assert {item["state"] for item in await library.log_of(OTHER)} == {"pending"}


async def test_it_stops_without_waiting_for_receivers_and_sends_what_was_under_way_again(library: Library) -> None:
    with receiving(hold=threading.Event()) as receiver:
        async with asyncio.timeout(10), library.running():  # an attempt alone may take longer
            await library.happen(saved(receiver.url), *story(), *story(), *story())
            await receiver.messages(2)
        assert receiver.hold is not None
        receiver.hold.set()
        async with library.running():
            await library.settled("delivered", "delivered", "delivered")
    assert len(receiver.got) == 5
    assert len({message.id for message in receiver.got}) == 3  # at least once: the receiver tells by the id


async def test_a_lost_queue_starts_at_the_logs_end(library: Library, receiver: Receiver) -> None:
    async with library.running():
        await library.happen(saved(receiver.url), *story())
        await library.settled("delivered")
    for path in library.layout.state.iterdir():
        path.unlink()
    async with library.running():
        await library.commit(again_from=0)
        await library.happen(*story())
        await library.settled("delivered")
    assert len(receiver.got) == 2


async def test_a_log_from_a_backup_gives_its_sequences_to_other_events_and_they_are_told(
    library: Library, receiver: Receiver
) -> None:
    async with library.running():
        await library.happen(saved(receiver.url), *story())
        await library.settled("delivered")
    del library.log.records[1:]
    library.committed = 1
    async with library.running():
        await library.happen(*story())  # as many events: the same sequences
        await library.settled("delivered", "delivered")
    assert len({message.id for message in receiver.got}) == 2


async def test_a_full_disk_repeats_no_attempt_in_a_loop(
    library: Library, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    real = module.DeliveryStore.record
    full = iter([True] * 5)

    def record(*args: Any) -> Any:
        if next(full, False):
            raise module.sqlite3.OperationalError("database or disk is full")
        return real(*args)

    monkeypatch.setattr(module.DeliveryStore, "record", record)
    async with library.running():
        await library.happen(saved(receiver.url), *story())
        await library.settled("delivered")
    assert len(receiver.got) == 1


async def test_a_missing_key_is_a_failed_attempt_that_says_so(library: Library, receiver: Receiver) -> None:
    (library.layout.secrets / "webhooks.key").unlink()
    async with library.running():
        await library.happen(saved(receiver.url), *story())
        assert "key" in (await library.tried(1))[0]["attempts"][0]["error"]
    assert receiver.got == []


async def test_an_installation_that_allows_nothing_refuses_at_every_attempt(
    library: Library, receiver: Receiver
) -> None:
    async with library.running(sender=Sender(Rules())):
        await library.happen(saved(receiver.url), *story())
        assert (await library.tried(1))[0]["attempts"][0]["error"].startswith("refused:")
