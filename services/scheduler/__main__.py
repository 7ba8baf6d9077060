"""`python -m services.scheduler`: the process manager as a process.

Lives here: wiring. SIGTERM drains: nothing is decided any more, a standby takes over, and the process ends with 0. It
holds nothing that the log does not.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import structlog
import uvicorn
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from services.scheduler import snapshot
from services.scheduler.admission import Admission
from services.scheduler.app import create_app, gauges
from services.scheduler.board import Board
from services.scheduler.estimate import estimate
from services.scheduler.metrics import SchedulerMetrics
from services.scheduler.peers import NatsPeers
from services.scheduler.policy import World
from services.scheduler.service import Scheduler
from services.scheduler.settings import SchedulerSettings
from services.scheduler.workers import Workers, free_gb
from shared import tracing
from shared.access.client import BusResolver
from shared.access.front import Front
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamCommandQueue, JetStreamEventLog
from shared.eventlog.port import EventLog, LogUnavailableError
from shared.events.subjects import SCHEDULER_ADMIT, SCHEDULER_ESTIMATE, WORKERS_DESCRIBE, heartbeat_subject
from shared.identity import uuid7
from shared.runtime_state import AdmitRequest, EstimateRequest
from shared.telemetry import Heartbeat, configure_logging

GRACE_S = 3

log = structlog.get_logger()


async def log_identity(events: EventLog) -> str:
    """Return the id of the log's first event, empty while there is none: what tells one log from another."""
    first = await events.read(limit=1)
    return first[0].event.id if first and first[0].event is not None else ""


async def starting_board(settings: SchedulerSettings, events: EventLog) -> Board:
    """Return the board to begin with, from a snapshot if one fits this log."""
    limits = settings.limits()
    log_id, last = await log_identity(events), await events.last()
    if not settings.scheduler_snapshot_s or not log_id or last is None:
        return Board(limits)
    found = await asyncio.to_thread(snapshot.read, settings.snapshot_path, log_id, last.seq)
    if found is None:
        return Board(limits)
    log.info("snapshot_loaded", seq=found.seq, head=last.seq)
    return snapshot.load(found, limits)


class Saver:
    """Saves the board now and then, and at the end."""

    def __init__(self, scheduler: Scheduler, settings: SchedulerSettings, events: EventLog) -> None:
        self._scheduler = scheduler
        self._settings = settings
        self._events = events
        self._saved = scheduler.board.seq

    async def run(self) -> None:
        while self._settings.scheduler_snapshot_s:
            await asyncio.sleep(self._settings.scheduler_snapshot_s)
            await self.save()

    async def save(self) -> None:
        """Write a snapshot if the board has moved; a disk that refuses costs a longer start, and nothing else."""
        board = self._scheduler.board
        if not (self._settings.scheduler_snapshot_s and self._scheduler.caught_up.is_set() and board.seq > self._saved):
            return
        try:
            made = snapshot.dump(board, await log_identity(self._events))
            await asyncio.to_thread(snapshot.save, self._settings.snapshot_path, made)
        except (OSError, LogUnavailableError) as error:
            log.warning("snapshot_not_saved", error=type(error).__name__)
        else:
            self._saved = made.seq


async def listen(client: Client, scheduler: Scheduler, workers: Workers) -> None:
    """Hear the workers' heartbeats, and answer whether a job may be queued."""
    admission = Admission()

    async def on_heartbeat(message: Msg) -> None:
        try:
            beat = Heartbeat.model_validate_json(message.data)
        except ValidationError:
            return
        if workers.beat(beat):
            scheduler.look_again()

    async def on_admit(message: Msg) -> None:
        if not scheduler.leads or scheduler.draining or not scheduler.caught_up.is_set():
            return  # the active one answers; without one, ingest accepts and the log decides
        try:
            request = AdmitRequest.model_validate_json(message.data)
        except ValidationError:
            return
        answer = admission.ask(request, scheduler.board, scheduler.world(), time.monotonic())
        await message.respond(answer.model_dump_json().encode())

    async def on_estimate(message: Msg) -> None:
        if not scheduler.leads or scheduler.draining or not scheduler.caught_up.is_set():
            return
        try:
            request = EstimateRequest.model_validate_json(message.data)
        except ValidationError:
            return
        answer = estimate(request, scheduler.board, scheduler.world(), admission)
        await message.respond(answer.model_dump_json().encode())

    await client.subscribe(heartbeat_subject("*"), cb=on_heartbeat)
    await client.subscribe(SCHEDULER_ADMIT, cb=on_admit)
    await client.subscribe(SCHEDULER_ESTIMATE, cb=on_estimate)
    await client.publish(WORKERS_DESCRIBE, b"")  # whoever lives beats at once


async def serve() -> None:
    """Run until a signal or the end of the scheduling loop."""
    settings = SchedulerSettings()
    configure_logging("scheduler", settings.log_level)
    tracing.configure("scheduler")
    client = await connect(settings, "scheduler")
    workers = Workers(time.monotonic)
    events = JetStreamEventLog(client)
    board = await starting_board(settings, events)
    holder = uuid7()
    peers = NatsPeers(client)

    def world() -> World:
        return workers.world(datetime.now(UTC), free_gb(settings.layout.data))

    measured = SchedulerMetrics(lambda: gauges(scheduler, workers))
    scheduler = Scheduler(
        events, JetStreamCommandQueue(client), board, holder=holder, peers=peers, world=world, observe=measured.observe
    )
    await peers.answer_as(holder)
    await listen(client, scheduler, workers)
    resolver = BusResolver(lambda: client, settings.ingest_url, settings.gateway_token)
    front = Front.of(settings, resolver)
    resolver.listen(front.running.end)
    server = _Server(
        uvicorn.Config(
            create_app(scheduler, client, workers, measured, front),
            host=settings.scheduler_host,
            port=settings.scheduler_port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # whom to believe about a client is the front's to say
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    scheduling = asyncio.create_task(scheduler.run())
    serving = asyncio.create_task(server.serve())
    saver = Saver(scheduler, settings, events)
    saving = asyncio.create_task(saver.run())
    stopping = asyncio.create_task(_stopped(scheduler))
    await asyncio.wait({scheduling, serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    await saver.save()
    server.should_exit = True
    failure = scheduling.exception() if scheduling.done() else None
    for task in (scheduling, saving, stopping):
        task.cancel()
    await asyncio.wait({scheduling, serving, saving, stopping})
    await resolver.close()
    await client.close()
    tracing.shutdown()
    if failure is not None:
        raise failure


class _Server(uvicorn.Server):
    """Leaves the signals to this process, which has more to end than HTTP."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def _stopped(scheduler: Scheduler) -> None:
    """Return after a signal, with the scheduler drained."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    scheduler.drain()


if __name__ == "__main__":
    uvloop.run(serve())
