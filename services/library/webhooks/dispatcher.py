"""The running dispatcher: hears what the library committed, queues messages, sends them, and tries again.

Lives here: the two loops and how they stop. `offer` never waits; a batch that is missed is read from the log. A
message is sent at least once: an attempt that a crash cut off is made again under the same `webhook-id`.
Does not live here: the parts - what an event is to whom (`matching`), the queue (`deliveries`), an attempt (`sender`).
"""

import asyncio
import functools
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

import structlog

from services.library.committed import Committed
from services.library.projection import digest
from services.library.webhooks import signing
from services.library.webhooks.changes import Change
from services.library.webhooks.deliveries import DeliveryStore, Due, Health, Position, database, open_deliveries
from services.library.webhooks.disabling import disable
from services.library.webhooks.matching import changes_of
from services.library.webhooks.retries import GONE, Outcome, Schedule, judge
from services.library.webhooks.sender import Sender
from services.library.webhooks.subscriptions import Subscription, Subscriptions
from shared.eventlog.port import EventLog, LogUnavailableError, Recorded
from shared.events.library import WebhookDeleted, WebhookSaved
from shared.events.subjects import ALL_WEBHOOKS
from shared.job.model import Job
from shared.layout import Layout
from shared.webhook_targets import Rules
from shared.webhooks import TEST_EVENT, KeyUnusableError, derive_secret, read_key

PER_WEBHOOK = 2
"""Attempts at once to one webhook: a slow receiver holds up itself only."""
AT_ONCE = 64
BACKLOG_BATCHES = 64
"""Batches that may wait in memory; further behind, the log is read instead."""
READ_AT_ONCE = 256
RETRY_S = 1.0
"""A full disk or a broker that is away is met again this often."""
CURSOR_EVERY_S = 5.0
"""How often the cursor is written while nobody wants anything: reading a few events again does no harm."""
PRUNE_EVERY_S = 3600.0

log = structlog.get_logger()
T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True)
class Counts:
    """What the dispatcher did since its start, and what waits now."""

    attempts: Mapping[str, int]
    """By result: `ok`, `error`."""
    delivered: int
    failed: int
    pending: int


async def _is_of_log(log_: EventLog, known: Position) -> bool:
    if known.seq == 0:
        return True
    found = await log_.read(after=known.seq - 1, limit=1)
    return bool(found) and found[0].seq == known.seq and digest(found[0]) == known.digest


class Dispatcher:
    """All webhooks of one installation. Everything but SQLite and name look-ups runs on the event loop."""

    def __init__(
        self,
        layout: Layout,
        rules: Rules,
        *,
        sender: Sender | None = None,
        schedule: Schedule | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log: EventLog | None = None
        self._layout = layout
        self._sender = sender or Sender(rules)
        self._schedule = schedule or Schedule()
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "webhooks-db")
        self._store: DeliveryStore | None = None
        self._position = Position()
        self._written = Position()
        self._written_at = 0.0
        self._heard = 0
        self._waiting: deque[Committed] = deque()
        self._news = asyncio.Event()
        self._wake = asyncio.Event()
        self._under_way: dict[str, str] = {}
        self._attempts: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()
        self.subscriptions = Subscriptions()

    async def open(self, log_: EventLog, position: int) -> None:
        """Open the queue and fold the webhooks; what the queue has not seen up to `position` (jobs.db's) is caught up.

        A new queue starts at the log's end: what happened before it is not sent. May be called again after it failed.
        Raises LogUnavailableError, sqlite3.Error, OSError.
        """
        if self._store is None:
            self._store = await self._run(open_deliveries, database(self._layout))
        known = await self._run(self._store.position)
        if known is not None and await _is_of_log(log_, known):
            self._position = known
        else:
            last = await log_.last()
            self._position = Position(last.seq, digest(last)) if last else Position()
            await self._run(self._store.commit, [], self._position, self._clock())
        self._written = self._position
        after = 0
        while batch := await log_.read(ALL_WEBHOOKS, after=after, limit=READ_AT_ONCE):
            for recorded in batch:
                if recorded.seq <= self._position.seq and isinstance(recorded.event, WebhookSaved | WebhookDeleted):
                    self.subscriptions.apply(recorded.seq, recorded.event)
            after = batch[-1].seq
        if self._position != known and self.subscriptions.ids():  # not said of a new installation
            log.warning("webhooks_start_at_the_end", after=self._position.seq, known=known.seq if known else None)
        await self._run(self._store.prune, self._clock())
        self._log = log_
        self._hear(position)

    @property
    def opened(self) -> bool:
        """Whether it knows the webhooks; until then, reads have no answer."""
        return self._log is not None

    def offer(self, committed: Committed) -> None:
        """Take what was committed; returns at once, and takes any batch any number of times."""
        if committed.seq <= self._position.seq:
            return
        if len(self._waiting) >= BACKLOG_BATCHES:
            self._waiting.clear()
        self._waiting.append(committed)
        self._hear(committed.seq)

    async def run(self) -> None:
        """Queue and send for ever. Raises sqlite3.DatabaseError for a damaged queue; the next `open` sets it aside."""
        async with asyncio.TaskGroup() as running:
            running.create_task(self._take_in())
            running.create_task(self._send_what_is_due(running))

    async def close(self) -> None:
        """Write the cursor and close the queue. End `run` first."""
        if self._store is not None:
            try:
                if self._written != self._position:
                    await self._run(self._store.commit, [], self._position, self._clock())
            except sqlite3.Error as error:
                log.warning("webhooks_cursor_not_written", error=str(error))
            await self._run(self._store.close)
        self._thread.shutdown()

    async def page(self, webhook_id: str, limit: int, below: int | None) -> tuple[list[dict[str, Any]], int | None]:
        """Return one page of a webhook's deliveries, the newest first, and the cursor of the next."""
        return await self._run(self._opened.page, webhook_id, limit, below)

    async def health(self) -> dict[str, Health]:
        """Return what is known of how each webhook does."""
        return await self._run(self._opened.health)

    async def counts(self) -> Counts:
        """Return what metrics show."""
        pending = sum(each.pending for each in (await self.health()).values())
        return Counts(dict(self._attempts), self._ended["delivered"], self._ended["failed"], pending)

    @property
    def _opened(self) -> DeliveryStore:
        assert self._store is not None, "open first"
        return self._store

    @property
    def _events(self) -> EventLog:
        assert self._log is not None, "open first"
        return self._log

    def _hear(self, seq: int) -> None:
        self._heard = max(self._heard, seq)
        self._news.set()

    async def _take_in(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._position.seq < self._heard:
                batch, jobs = await self._next_batch()
                fresh = [recorded for recorded in batch if recorded.seq > self._position.seq]
                changes = [change for recorded in fresh for change in await self._changes(recorded, jobs)]
                self._position = Position(fresh[-1].seq, digest(fresh[-1])) if fresh else Position(self._heard)
                if changes or self._clock() - self._written_at > CURSOR_EVERY_S:
                    await self._patiently(self._opened.commit, changes, self._position, self._clock())
                    self._written, self._written_at = self._position, self._clock()
                if changes:
                    self._wake.set()

    async def _next_batch(self) -> tuple[Sequence[Recorded], Mapping[str, Job]]:
        """Return what follows the cursor: a committed batch where one does, else from the log."""
        while self._waiting:
            committed = self._waiting[0]
            if committed.batch[0].seq > self._position.seq + 1:
                break  # something is missing before it
            self._waiting.popleft()
            if committed.seq > self._position.seq:
                return committed.batch, {job.id: job for job in committed.jobs}
        batch = await self._read(self._position.seq)
        return [recorded for recorded in batch if recorded.seq <= self._heard], {}

    async def _changes(self, recorded: Recorded, jobs: Mapping[str, Job]) -> list[Change]:
        while True:
            try:
                return await changes_of(recorded, self.subscriptions, jobs, self._events)
            except LogUnavailableError as error:
                await self._wait_for("log", error)

    async def _read(self, after: int) -> list[Recorded]:
        while True:
            try:
                return await self._events.read(after=after, limit=READ_AT_ONCE)
            except LogUnavailableError as error:
                await self._wait_for("log", error)

    async def _send_what_is_due(self, running: asyncio.TaskGroup) -> None:
        pruned_at = self._clock()
        while True:
            self._wake.clear()
            now = self._clock()
            if now - pruned_at > PRUNE_EVERY_S:
                await self._patiently(self._opened.prune, now)
                pruned_at = now
            due, soonest = await self._patiently(self._opened.due, now, self._free(), list(self._under_way))
            for each in due[: AT_ONCE - len(self._under_way)]:
                self._under_way[each.id] = each.webhook
                running.create_task(self._attempt(each))
            wait = PRUNE_EVERY_S if soonest is None else max(0.0, soonest - self._clock())
            try:
                async with asyncio.timeout(min(wait, PRUNE_EVERY_S)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _free(self) -> dict[str, int]:
        """Return how many more attempts each webhook may have; the ones with most room come first."""
        busy = Counter(self._under_way.values())
        if len(self._under_way) >= AT_ONCE:
            return {}
        room = {webhook: PER_WEBHOOK - busy[webhook] for webhook in self.subscriptions.ids()}
        return dict(sorted(((k, v) for k, v in room.items() if v > 0), key=lambda item: -item[1]))

    async def _attempt(self, due: Due) -> None:
        try:
            webhook = self.subscriptions.get(due.webhook)
            if webhook is None:
                return
            at = self._clock()
            outcome = await self._outcome(webhook, due, at)
            once = due.type == TEST_EVENT
            verdict = judge(outcome, due.tries + 1, self._clock(), self._schedule, once=once)
            since = await self._patiently(self._opened.record, due, at, outcome, verdict, self._schedule)
            self._attempts["ok" if outcome.ok else "error"] += 1
            if verdict.state != "pending":
                self._ended[verdict.state] += 1
            if not outcome.ok:
                log.info("webhook_attempt_failed", webhook=webhook.id, message=due.id, error=outcome.error)
                await self._disable_if_hopeless(webhook, outcome, since, at)
        finally:
            self._under_way.pop(due.id, None)
            self._wake.set()

    async def _outcome(self, webhook: Subscription, due: Due, at: float) -> Outcome:
        try:
            key = await self._run(read_key, self._layout)
        except KeyUnusableError as error:
            log.error("webhook_key_unusable", error=str(error))
            return Outcome(None, "this installation's webhook key is unusable", 0)
        generations = webhook.generations(datetime.fromtimestamp(at, UTC))
        secrets = [derive_secret(key, webhook.id, generation) for generation in generations]
        headers = signing.headers(due.id, int(at), due.body, secrets)
        return await self._sender.send(webhook.data.url, headers, due.body)

    async def _disable_if_hopeless(
        self, webhook: Subscription, outcome: Outcome, since: float | None, at: float
    ) -> None:
        if outcome.status == GONE:
            why = "The receiver answered 410 Gone."
        elif since is not None and at - since >= self._schedule.disable_after:
            why = f"Every attempt since {datetime.fromtimestamp(since, UTC):%Y-%m-%d %H:%M} UTC failed."
        else:
            return
        await disable(self._events, webhook, why)

    async def _patiently(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in the queue's thread until it works: what was sent must be remembered, or it is sent again."""
        while True:
            try:
                return await self._run(function, *args, **kwargs)
            except sqlite3.OperationalError as error:
                await self._wait_for("queue", error)

    async def _wait_for(self, what: str, error: Exception) -> None:
        log.error("webhooks_wait", waiting_for=what, error=str(error))
        await asyncio.sleep(RETRY_S)

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
