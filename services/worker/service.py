"""The worker's parent process: takes commands, claims stages, keeps leases alive, commits outcomes.

Lives here: the loop over one pool. It never blocks: the work happens in a child (`child_process`), so a busy
engine cannot lose its lease and a kill is immediate.
"""

import asyncio
import contextlib
import platform
from collections.abc import Callable

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.worker.child_process import ChildProcess
from services.worker.claims import MAX_DELIVERIES, Claim, attributes, claim, commit, job_runs
from services.worker.messages import Failed, Finished, Progressed
from services.worker.settings import STAGE_TIMEOUT_S, WorkerSettings
from shared.capabilities import Capabilities
from shared.eventlog.port import CommandQueue, Delivery, EventLog, LogUnavailableError
from shared.events.subjects import WORKERS_DESCRIBE, heartbeat_subject, lifecycle_subject, progress_subject
from shared.events.types import (
    JobCanceled,
    StageCompleted,
    StageCompletedData,
    StageEvent,
    StageFailed,
    StageFailedData,
    StageReleased,
    StageReleasedData,
    decode,
)
from shared.telemetry import Heartbeat, Progress

FETCH_S = 5.0
HEARTBEAT_S = 5.0
COMMIT_RETRY_S = 1.0

log = structlog.get_logger()


class Worker:
    """One worker of one pool: at most one stage at a time."""

    def __init__(
        self,
        settings: WorkerSettings,
        client: Client,
        events: EventLog,
        queue: CommandQueue,
        capabilities: Capabilities,
    ) -> None:
        self._settings = settings
        self._client = client
        self._events = events
        self._queue = queue
        self._capabilities = capabilities
        self._child = ChildProcess()
        self._held: Delivery | None = None
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Take no new command; what is held is finished or handed back within the drain time-out."""
        self._draining.set()

    async def run(self) -> None:
        """Work until drained."""
        await self._child.start()
        await self._client.subscribe(WORKERS_DESCRIBE, cb=self._describe)
        beats = asyncio.create_task(self._beat())
        try:
            while not self._draining.is_set():
                delivery = await self._next()
                if delivery is not None:
                    self._held = delivery
                    await self._handle(delivery)
                    self._held = None
        finally:
            beats.cancel()
            await self._child.kill()

    async def _next(self) -> Delivery | None:
        """Fetch, but notice a drain at once."""
        fetch = asyncio.create_task(self._queue.next(self._settings.worker_pool, FETCH_S))
        drained = asyncio.create_task(self._draining.wait())
        await asyncio.wait({fetch, drained}, return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        if fetch.done():
            return fetch.result()
        fetch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            # A command that arrives in this moment comes again after the ack wait.
            await fetch
        return None

    async def _handle(self, delivery: Delivery) -> None:
        command = delivery.command
        bound = log.bind(job_id=command.job_id, stage=command.stage, attempt=command.attempt)
        settings = self._settings
        try:
            if not await job_runs(self._events, command.job_id):
                bound.info("command_dropped", reason="the job does not run")
                await delivery.ack()
                return
            claimed = await claim(self._events, command, settings.worker_id, platform.node(), settings.worker_pool)
        except LogUnavailableError:
            bound.warning("claim_unavailable")
            return
        if claimed is None:
            bound.info("command_dropped", reason="the stage moved on")
            await delivery.ack()
            return
        bound.info("stage_claimed", fence=claimed.fence, deliveries=delivery.deliveries)
        if delivery.deliveries > MAX_DELIVERIES:
            message = f"the stage took {MAX_DELIVERIES} workers down"
            outcome: Finished | Failed | None = Failed(code="dead_letter", message=message, retryable=False)
            await self._commit(claimed, outcome, delivery)
            return
        lease = asyncio.create_task(self._keep_lease(delivery))
        try:
            outcome = await self._work(claimed)
            await self._commit(claimed, outcome, delivery)
        finally:
            lease.cancel()

    async def _work(self, claimed: Claim) -> Finished | Failed | None:
        """Return the outcome, or None if the job was cancelled or the worker drains."""
        command = claimed.command
        canceled = asyncio.Event()

        async def on_lifecycle(message: Msg) -> None:
            if isinstance(decode(message.data), JobCanceled):
                canceled.set()

        watch = await self._client.subscribe(lifecycle_subject(command.job_id), cb=on_lifecycle)
        running = asyncio.create_task(self._child.run(command, self._tell_progress(claimed)))
        stops = {
            asyncio.create_task(canceled.wait()),
            asyncio.create_task(self._drained_too_long()),
            running,
        }
        timeout_s = STAGE_TIMEOUT_S[command.stage]
        try:
            done, _ = await asyncio.wait(stops, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if running in done:
                return running.result()
            if done:
                return None
            message = f"the stage took longer than {timeout_s:.0f} s"
            return Failed(code="stage_timeout", message=message, retryable=True)
        finally:
            for task in stops:
                task.cancel()
            await asyncio.wait(stops)
            await watch.unsubscribe()

    async def _drained_too_long(self) -> None:
        await self._draining.wait()
        await asyncio.sleep(self._settings.drain_timeout_s)

    def _tell_progress(self, claimed: Claim) -> Callable[[Progressed], None]:
        command = claimed.command
        sends: set[asyncio.Task[None]] = set()

        def tell(message: Progressed) -> None:
            progress = Progress(
                job_id=command.job_id,
                stage=command.stage,
                attempt=command.attempt,
                fraction=message.fraction,
                message=message.message,
            )
            task = asyncio.create_task(
                self._client.publish(progress_subject(command.job_id), progress.model_dump_json().encode())
            )
            sends.add(task)
            task.add_done_callback(sends.discard)

        return tell

    async def _commit(self, claimed: Claim, outcome: Finished | Failed | None, delivery: Delivery) -> None:
        """Append the outcome, waiting out a broker that is away: finished work is not thrown away."""
        event = self._event(claimed, outcome)
        bound = log.bind(job_id=event.subject, stage=event.data.stage, type=event.type)
        while True:
            try:
                mine = await commit(self._events, claimed, event)
            except LogUnavailableError:
                bound.warning("commit_waits_for_broker")
                await asyncio.sleep(COMMIT_RETRY_S)
            else:
                break
        bound.info("stage_committed" if mine else "stage_lost")
        if mine:
            await delivery.ack()

    def _event(self, claimed: Claim, outcome: Finished | Failed | None) -> StageEvent:
        command = claimed.command
        envelope = attributes(command, self._settings.worker_id, claimed.claimed_id)
        identity = {"stage": command.stage, "part": command.part, "attempt": command.attempt}
        if outcome is None:
            return StageReleased(
                **envelope,
                data=StageReleasedData(**identity, reason="stopped: the job was cancelled, or the worker ends"),
            )
        if isinstance(outcome, Failed):
            return StageFailed(**envelope, data=StageFailedData(**identity, **outcome.model_dump(exclude={"kind"})))
        fields = outcome.model_dump(exclude={"kind", "loaded_engines"})
        return StageCompleted(**envelope, data=StageCompletedData(**identity, **fields))

    async def _keep_lease(self, delivery: Delivery) -> None:
        while True:
            await asyncio.sleep(self._settings.ack_wait_s / 3)
            try:
                await delivery.in_progress()
            except Exception as error:  # noqa: BLE001 -- any client error here means only that the broker is away
                log.warning("lease_not_extended", error=type(error).__name__)

    async def _beat(self) -> None:
        while True:
            held = self._held.command if self._held else None
            beat = Heartbeat(
                worker=self._settings.worker_id,
                host=platform.node(),
                pool=self._settings.worker_pool,
                job_id=held.job_id if held else None,
                stage=held.stage if held else None,
                loaded_engines=self._child.loaded_engines,
            )
            subject = heartbeat_subject(self._settings.worker_id.replace(".", "_"))
            with contextlib.suppress(OSError):
                await self._client.publish(subject, beat.model_dump_json().encode())
            await asyncio.sleep(HEARTBEAT_S)

    async def _describe(self, message: Msg) -> None:
        if message.reply:
            await message.respond(self._capabilities.model_dump_json().encode())
