"""The log and the queue on NATS JetStream.

Lives here: appends with expected sequences and their ambiguous outcomes, consumer-less reading by direct get
(a reader's position is its own cursor; see docs/decisions/0001), and the work queue's pull consumer.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, NoRespondersError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError
from pydantic import ValidationError

from shared.commands import StageCommand
from shared.eventlog.port import ConflictError, Expect, LogUnavailableError, Recorded
from shared.events.envelope import CONTENT_TYPE
from shared.events.names import Pool
from shared.events.subjects import (
    ALL_EVENTS,
    COMMAND_STREAM,
    EVENT_STREAM,
    command_subject,
    event_subject,
    pool_consumer,
)
from shared.events.types import Event

WRONG_LAST_SEQUENCE = 10071
WRONG_LAST_SEQUENCE_CONSTANT = 10164
QUEUE_FULL = 10077
"""Also the answer to a second command on a subject that allows one message."""

ANSWER_TIMEOUT_S = 2.0
APPEND_DEADLINE_S = 10.0
READ_DEADLINE_S = 10.0
FOLLOW_BATCH = 512
POLL_S = 1.0
"""A follower that lost its wake-up (a broker restart) looks again this often."""
STORE_LAG_S = (0.0, *[0.0005] * 6, 0.001, 0.002, 0.004, 0.008, 0.016, 0.05)
"""The wake-up is the published message itself, which the broker may hand out before it is fsynced and readable."""

_PASSING = (NatsTimeout, NoRespondersError, NoStreamResponseError, ServiceUnavailableError, OutboundBufferLimitError)

log = structlog.get_logger()


class JetStreamEventLog:
    """The event log of an installation."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._js: JetStreamContext = client.jetstream(timeout=ANSWER_TIMEOUT_S)

    async def append(self, event: Event, expect: Expect | None = None) -> int:
        headers = {"Content-Type": CONTENT_TYPE, "Nats-Msg-Id": event.id}
        if event.traceparent:
            headers["traceparent"] = event.traceparent
        if expect is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(expect.seq)
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = expect.filter
        deadline = asyncio.get_running_loop().time() + APPEND_DEADLINE_S
        while True:
            try:
                # nats-py adds to the headers that it is given: a fresh dict per try.
                ack = await self._js.publish(event_subject(event), event.encode(), headers=dict(headers))
            except APIError as error:
                if expect is None or error.err_code not in (WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_CONSTANT):
                    raise
                return await self._settle(event, expect)
            except _PASSING as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise LogUnavailableError("the broker did not confirm the event in time") from error
                await asyncio.sleep(0.1)
            except ConnectionClosedError as error:
                raise LogUnavailableError("the connection to the broker is closed") from error
            else:
                return ack.seq

    async def _settle(self, event: Event, expect: Expect) -> int:
        """A refused append may be the retry of one that was stored: look for its id before calling it a conflict."""
        after = expect.seq
        while batch := await self.read(expect.filter, after=after):
            for recorded in batch:
                if recorded.event is not None and recorded.event.id == event.id:
                    return recorded.seq
            after = batch[-1].seq
        raise ConflictError(f"{expect.filter} moved on from {expect.seq}")

    async def read(self, subject: str = ALL_EVENTS, *, after: int = 0, limit: int = 256) -> list[Recorded]:
        return await self._direct({"seq": after + 1, "next_by_subj": subject, "batch": limit})

    async def last(self, subject: str = ALL_EVENTS) -> Recorded | None:
        found = await self._direct({"last_by_subj": subject})
        return found[0] if found else None

    async def _direct(self, request: dict[str, Any]) -> list[Recorded]:
        deadline = asyncio.get_running_loop().time() + READ_DEADLINE_S
        while True:
            try:
                return await self._direct_once(request)
            except _PASSING as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise LogUnavailableError("the broker did not answer a read in time") from error
                await asyncio.sleep(0.1)
            except ConnectionClosedError as error:
                raise LogUnavailableError("the connection to the broker is closed") from error

    async def _direct_once(self, request: dict[str, Any]) -> list[Recorded]:
        """Ask `$JS.API.DIRECT.GET` (NATS ADR-31) and collect its answer, one message or a batch."""
        found: list[Recorded] = []
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def collect(message: Msg) -> None:
            headers = message.headers or {}
            status = headers.get("Status")
            if ended.done():
                return
            if status is None:
                found.append(Recorded.of(int(headers["Nats-Sequence"]), headers["Nats-Subject"], message.data))
                if "batch" not in request:
                    ended.set_result(None)
            elif status in ("204", "404"):  # end of batch; nothing found
                ended.set_result(None)
            else:
                ended.set_exception(NoRespondersError() if status == "503" else NatsTimeout())

        inbox = self._client.new_inbox()
        # A callback: waiting for each message with a time-out of its own costs more than decoding it.
        answers = await self._client.subscribe(inbox, cb=collect)
        try:
            payload = json.dumps(request).encode()
            await self._client.publish(f"$JS.API.DIRECT.GET.{EVENT_STREAM}", payload, reply=inbox)
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await ended
        except TimeoutError as error:
            raise NatsTimeout from error
        finally:
            await answers.unsubscribe()
        return found

    async def follow(self, *, after: int = 0) -> AsyncIterator[list[Recorded]]:
        grown = asyncio.Event()

        async def wake(_message: Msg) -> None:
            grown.set()

        subscription = await self._client.subscribe(ALL_EVENTS, cb=wake)
        try:
            while True:
                woken = grown.is_set()
                grown.clear()
                for lag in STORE_LAG_S if woken else (0.0,):
                    if lag:
                        await asyncio.sleep(lag)
                    batch = await self._read_patiently(after)
                    if batch:
                        break
                if batch:
                    after = batch[-1].seq
                    yield batch
                    grown.set()
                    continue
                try:
                    await asyncio.wait_for(grown.wait(), POLL_S)
                except TimeoutError:
                    continue
        finally:
            await subscription.unsubscribe()

    async def _read_patiently(self, after: int) -> list[Recorded]:
        while True:
            try:
                return await self.read(after=after, limit=FOLLOW_BATCH)
            except LogUnavailableError:
                if self._client.is_closed:
                    raise
                log.warning("log_unavailable", after=after)


@dataclass(frozen=True)
class JetStreamDelivery:
    """A command in this worker's hands."""

    command: StageCommand
    deliveries: int
    _message: Msg

    async def in_progress(self) -> None:
        await self._message.in_progress()

    async def ack(self) -> None:
        # Not waited for: the event is what commits (E4), and a command whose ack was lost comes again and is dropped.
        await self._message.ack()

    async def nak(self, delay_s: float = 0.0) -> None:
        await self._message.nak(delay=delay_s or None)


class JetStreamCommandQueue:
    """The work queue of an installation."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._js: JetStreamContext = client.jetstream(timeout=ANSWER_TIMEOUT_S)
        self._pulls: dict[Pool, JetStreamContext.PullSubscription] = {}

    async def publish(self, command: StageCommand) -> bool:
        subject = command_subject(command.pool, command.job_id, command.stage, command.part)
        deadline = asyncio.get_running_loop().time() + APPEND_DEADLINE_S
        while True:
            try:
                await self._js.publish(subject, command.model_dump_json().encode(), headers={"Nats-Msg-Id": command.id})
            except APIError as error:
                if error.err_code == QUEUE_FULL:
                    return False
                raise
            except _PASSING as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise LogUnavailableError("the broker did not confirm the command in time") from error
                await asyncio.sleep(0.1)
            else:
                return True

    async def next(self, pool: Pool, timeout_s: float) -> JetStreamDelivery | None:
        if pool not in self._pulls:
            self._pulls[pool] = await self._js.pull_subscribe_bind(pool_consumer(pool), COMMAND_STREAM)
        try:
            (message,) = await self._pulls[pool].fetch(1, timeout=timeout_s)
        except (NatsTimeout, TimeoutError):
            return None
        except (APIError, ConnectionClosedError, ServiceUnavailableError) as error:
            log.warning("fetch_failed", error=type(error).__name__)
            await asyncio.sleep(0.2)
            return None
        try:
            command = StageCommand.model_validate_json(message.data)
        except ValidationError:
            log.error("command_undecodable", subject=message.subject)  # E7: not ours to run, and not to come again
            await message.term()
            return None
        return JetStreamDelivery(command, message.metadata.num_delivered or 1, message)
