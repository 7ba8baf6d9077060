"""A library with a dispatcher for tests: a log in memory, batches as they are committed, starts and stops."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook as Verifier

from services.library.committed import Committed
from services.library.webhooks.dispatcher import Dispatcher
from services.library.webhooks.retries import Schedule
from shared.eventlog.job_history import load_job
from shared.eventlog.memory import MemoryEventLog
from shared.events.library import (
    WebhookSaved,
    WebhookSavedData,
    WebhookSendRequested,
    WebhookSendRequestedData,
)
from shared.events.subjects import job_of
from shared.events.types import Event
from shared.identity import uuid7
from shared.layout import Layout
from shared.webhook_targets import Rules
from shared.webhooks import derive_secret, ensure_key, print_secret
from tests.factories import context
from tests.unit.library.stories import whole_story
from tests.webhook_receiver import Message

HOOK = "hook_0123456789abcdef"
OTHER = "hook_fedcba9876543210"
QUICK = Schedule(backoff=(0.02,) * 200, jitter=lambda: 1.0)
LOOPBACK = Rules.parse("127.0.0.0/8")


class Library:
    """A log, and the dispatcher as the library runs it: fed with what is committed, started and stopped."""

    def __init__(self, directory: Path) -> None:
        self.layout = Layout(directory)
        self.log = MemoryEventLog()
        self.key = ensure_key(self.layout)
        self.committed = 0
        self.dispatcher: Dispatcher

    @contextlib.asynccontextmanager
    async def running(self, schedule: Schedule = QUICK, **options: Any) -> AsyncIterator[Dispatcher]:
        self.dispatcher = Dispatcher(self.layout, LOOPBACK, schedule=schedule, **options)
        await self.dispatcher.open(self.log, self.committed)
        work = asyncio.create_task(self.dispatcher.run())
        try:
            yield self.dispatcher
        finally:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            await self.dispatcher.close()

    async def append(self, *events: Event) -> list[int]:
        return [await self.log.append(what) for what in events]

    async def commit(self, *, again_from: int | None = None) -> None:
        """Offer what is new in the log as one batch; `again_from` makes it begin earlier, as after a restart."""
        start = self.committed if again_from is None else again_from
        batch = self.log.records[start:]
        about = dict.fromkeys(job_id for each in batch if (job_id := job_of(each.subject)))
        jobs = [job for job_id in about if (job := (await load_job(self.log, job_id))[0]) and not job.deleted]
        self.committed = len(self.log.records)
        self.dispatcher.offer(Committed(batch, jobs))

    async def happen(self, *events: Event) -> list[int]:
        sequences = await self.append(*events)
        await self.commit()
        return sequences

    def verify(self, message: Message, webhook_id: str = HOOK, generation: int = 1) -> None:
        Verifier(print_secret(derive_secret(self.key, webhook_id, generation))).verify(message.body, message.headers)

    async def log_of(self, webhook_id: str = HOOK) -> list[dict[str, Any]]:
        return (await self.dispatcher.page(webhook_id, 100, None))[0]

    async def settled(self, *states: str, webhook_id: str = HOOK) -> list[dict[str, Any]]:
        """Return the delivery log, newest first, when its states are these."""
        return await self.until(lambda items: [item["state"] for item in items] == list(states), webhook_id)

    async def tried(self, times: int, webhook_id: str = HOOK) -> list[dict[str, Any]]:
        """Return the delivery log when every message in it had so many attempts."""
        return await self.until(
            lambda items: bool(items) and all(len(item["attempts"]) >= times for item in items), webhook_id
        )

    async def until(
        self, check: Callable[[list[dict[str, Any]]], bool], webhook_id: str = HOOK
    ) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 20
        while not check(found := await self.log_of(webhook_id)):
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.005)
        return found


def saved(url: str, webhook_id: str = HOOK, **changes: Any) -> WebhookSaved:
    fields: dict[str, Any] = {"owner": "local", "url": url, "created_at": datetime.now(UTC)} | changes
    return WebhookSaved(**context(webhook_id), data=WebhookSavedData(**fields))


def asked(message: str = "", webhook_id: str = HOOK) -> WebhookSendRequested:
    return WebhookSendRequested(**context(webhook_id), data=WebhookSendRequestedData(message=message))


def story(job_id: str | None = None, **changes: Any) -> list[Event]:
    return whole_story(job_id or uuid7(), **changes)
