"""The worker's parent process: takes commands, claims stages, keeps leases alive, commits outcomes.

Lives here: the loop over one pool. It never blocks: the work happens in a runner (`child_process`), so a busy engine
cannot lose its lease and a kill is immediate.
"""

import asyncio
import contextlib
import platform
from collections.abc import Callable

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from services.worker import gate
from services.worker.capabilities import Inventory
from services.worker.claims import MAX_DELIVERIES, Claim, Drop, Owner, claim, commit, worn_out
from services.worker.heartbeat import beat, beat_once
from services.worker.lease import Lease
from services.worker.messages import CANCELED, Failed, Finished, Progressed
from services.worker.metrics import Kill, WorkerMetrics
from services.worker.outcomes import Outcome, Stopped, event_of, timed_out, with_budget
from services.worker.runner import Runner
from services.worker.settings import WorkerSettings
from services.worker.watch import Bus, JobWatch, Stop
from shared import tracing
from shared.commands import StageCommand
from shared.eventlog.port import CommandQueue, Delivery, EventLog, LogUnavailableError
from shared.events.subjects import WORKERS_DESCRIBE, progress_subject
from shared.telemetry import Heartbeat, Progress
from shared.tracing import Attributes, Span

FETCH_S = 5.0
COMMIT_RETRY_S = 1.0
SHUTTING_DOWN = "the worker is shutting down"

log = structlog.get_logger()


class Worker:
    """One worker of one pool: at most one stage at a time. `inventory` may be replaced by a newer one."""

    def __init__(
        self,
        settings: WorkerSettings,
        bus: Bus,
        events: EventLog,
        queue: CommandQueue,
        runner: Runner,
        inventory: Inventory,
    ) -> None:
        self._settings = settings
        self._bus = bus
        self._events = events
        self._queue = queue
        self._runner = runner
        self.inventory = inventory
        self.turn = asyncio.Lock()
        """Held by whoever uses the runner; whoever waits for it is let in between two commands."""
        self._owner = Owner(settings.worker_id, platform.node(), settings.worker_pool)
        self._held: StageCommand | None = None
        self.metrics = WorkerMetrics(lambda: self._held is not None)
        self._draining = asyncio.Event()
        self._hand_back = asyncio.Event()

    @property
    def draining(self) -> bool:
        """Whether it takes no new command any more."""
        return self._draining.is_set()

    def drain(self) -> None:
        """Take no new command; what is held is finished, or handed back after the drain time-out.

        Asked again, it is handed back at once.
        """
        if self.draining:
            self._hand_back.set()
            return
        self._draining.set()
        asyncio.get_running_loop().call_later(self._settings.drain_timeout_s, self._hand_back.set)

    async def run(self) -> None:
        """Work until drained."""
        await self._runner.start()
        describing = await self._bus.subscribe(WORKERS_DESCRIBE, cb=self._describe)
        beats = asyncio.create_task(beat(self._bus, self._state))
        try:
            while not self.draining:
                async with self.turn:
                    delivery = await self._next()
                    if delivery is not None:
                        await self._handle(delivery)
        finally:
            beats.cancel()
            await beat_once(self._bus, self._state())
            with contextlib.suppress(NatsError):
                await describing.unsubscribe()
            await self._runner.kill()

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
        self._held = command
        try:
            with tracing.span("stage", command.traceparent, _span_attributes(delivery)) as span:
                await self._take(delivery, span)
        except (LogUnavailableError, NatsError):  # the command comes again
            self.metrics.command("unavailable")
            log.warning("log_unavailable", job_id=command.job_id, stage=command.stage)
        finally:
            self._held = None

    async def _take(self, delivery: Delivery, span: Span) -> None:
        command = delivery.command.model_copy(update={"traceparent": span.traceparent})
        async with JobWatch(self._bus, command.job_id, command.run) as watch:
            alive_at = gate.now()
            await delivery.in_progress()  # the answer to the claim says that it arrived
            claimed = await self._claim(command, delivery)
            if claimed is None:
                span.set(event=Drop.__name__)
            else:
                span.link(claimed.heir_of)
                self._runner.renew(alive_at)
                lease = Lease(self._events, claimed, delivery, self._settings.ack_wait_s, alive_at)
                await self._own(lease, watch, span)

    async def _claim(self, command: StageCommand, delivery: Delivery) -> Claim | None:
        """Claim the stage, or drop a command that nobody wants any more. Raises LogUnavailableError."""
        bound = log.bind(job_id=command.job_id, stage=command.stage, attempt=command.attempt)
        claimed = await claim(self._events, command, self._owner, redelivered=delivery.deliveries > 1)
        if isinstance(claimed, Drop):
            self.metrics.command("dropped")
            bound.info("command_dropped", reason=claimed.reason, released=claimed.release is not None)
            await self._ack(delivery)
            return None
        self.metrics.command("taken_over" if delivery.deliveries > 1 else "claimed")
        bound.info("stage_claimed", fence=claimed.fence, deliveries=delivery.deliveries)
        return claimed

    async def _own(self, held: Lease, watch: JobWatch, span: Span) -> None:
        """Work on a claimed stage and commit its outcome. Raises LogUnavailableError."""
        claimed, delivery = held.claimed, held.delivery
        lease = asyncio.create_task(held.keep(watch, self._runner, self.metrics.lease_error))
        try:
            outcome = await self._outcome(claimed, delivery, watch, lease)
            if outcome is not None:
                span.set(event=type(outcome).__name__)
                await self._commit(claimed, outcome, delivery)
        finally:
            lease.cancel()
            await asyncio.wait({lease})

    async def _outcome(
        self, claimed: Claim, delivery: Delivery, watch: JobWatch, lease: "asyncio.Task[Stop]"
    ) -> Outcome | None:
        """Return how the stage ended; None if another worker owns it now. Raises LogUnavailableError."""
        if delivery.deliveries > MAX_DELIVERIES and (dead := await worn_out(self._events, claimed)):
            return Failed(code="dead_letter", message=dead, retryable=False)
        loop = asyncio.get_running_loop()
        started = loop.time()
        outcome = await self._work(claimed, watch, lease)
        return outcome and with_budget(outcome, claimed.command, loop.time() - started)

    async def _work(self, claimed: Claim, watch: JobWatch, lease: "asyncio.Task[Stop]") -> Outcome | None:
        """Run the stage to its end, or to the first reason to stop it."""
        command = claimed.command
        running = asyncio.create_task(self._runner.run(command, self._tell_progress(command)))
        stopping = asyncio.create_task(watch.stopped())
        handing_back = asyncio.create_task(self._hand_back.wait())
        waiting = {running, stopping, handing_back, lease}
        try:
            await asyncio.wait(waiting, timeout=command.timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                return _ended(running.result())
            stop = next((task.result() for task in (lease, stopping) if task.done()), None)
            if stop is None and handing_back.done():
                stop = Stop(SHUTTING_DOWN)
            if stop is None:
                await self._kill("timeout")
                return timed_out(command)
            await self._end(running, stop)
            log.info("stage_stopped", job_id=command.job_id, stage=command.stage, reason=stop.reason)
            return None if stop.lost else Stopped(stop.reason)
        finally:
            for task in (running, stopping, handing_back):
                task.cancel()
            await asyncio.wait({running, stopping, handing_back})

    async def _end(self, running: "asyncio.Task[Finished | Failed]", stop: Stop) -> None:
        """End the running stage: at once, or at its next progress point if that comes in time."""
        if not stop.kill:
            self._runner.ask_to_end()
            await asyncio.wait({running}, timeout=self._settings.cancel_grace_s)
        if not running.done():
            await self._kill("drain" if stop.reason == SHUTTING_DOWN else "canceled")

    async def _kill(self, reason: Kill) -> None:
        self.metrics.child_killed(reason)
        await self._runner.kill()

    async def _commit(self, claimed: Claim, outcome: Outcome, delivery: Delivery) -> None:
        """Append the outcome, waiting out a broker that is away: finished work is not thrown away.

        Only a worker that has to go gives up. Raises LogUnavailableError.
        """
        event = event_of(claimed, outcome, self._settings.worker_id)
        bound = log.bind(job_id=event.subject, stage=event.data.stage, type=event.type)
        while True:
            try:
                mine = await commit(self._events, claimed, event)
            except LogUnavailableError:
                if self._hand_back.is_set():
                    raise
                bound.warning("commit_waits_for_broker")
                await asyncio.sleep(COMMIT_RETRY_S)
            else:
                break
        self.metrics.commit("committed" if mine else "lost")
        bound.info("stage_committed" if mine else "stage_lost")
        if mine:
            await self._ack(delivery)

    @staticmethod
    async def _ack(delivery: Delivery) -> None:
        try:
            await delivery.ack()
        except NatsError as error:  # it comes again, and is dropped
            log.warning("ack_failed", error=type(error).__name__)

    def _tell_progress(self, command: StageCommand) -> Callable[[Progressed], None]:
        sends: set[asyncio.Task[None]] = set()

        async def send(progress: Progress) -> None:
            with contextlib.suppress(OSError, NatsError):
                await self._bus.publish(progress_subject(command.job_id), progress.model_dump_json().encode())

        def tell(message: Progressed) -> None:
            progress = Progress(
                job_id=command.job_id,
                stage=command.stage,
                attempt=command.attempt,
                fraction=message.fraction,
                message=message.message,
            )
            task = asyncio.create_task(send(progress))
            sends.add(task)
            task.add_done_callback(sends.discard)

        return tell

    def _state(self) -> Heartbeat:
        held = self._held
        return Heartbeat(
            worker=self._owner.worker,
            host=self._owner.host,
            pool=self._owner.pool,
            device=self.inventory.device,
            job_id=held.job_id if held else None,
            stage=held.stage if held else None,
            loaded_engines=self._runner.loaded_engines,
            engines=self.inventory.engines,
            models=list(self.inventory.models),
            draining=self.draining,
        )

    async def _describe(self, message: Msg) -> None:
        await beat_once(self._bus, self._state())  # a scheduler that has just started knows nobody yet
        if message.reply:
            await message.respond(self.inventory.capabilities.model_dump_json().encode())


def _ended(result: Finished | Failed) -> Outcome:
    """A run that was asked to end by somebody else than the worker (a signal to the whole group) is handed back."""
    if isinstance(result, Failed) and result.code == CANCELED:
        return Stopped(result.message)
    return result


def _span_attributes(delivery: Delivery) -> Attributes:
    command = delivery.command
    return {
        "job_id": command.job_id,
        "run": command.run,
        "stage": command.stage,
        "part": command.part,
        "attempt": command.attempt,
        "deliveries": delivery.deliveries,
    }
