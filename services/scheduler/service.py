"""The scheduler's shell: folds the log, asks the policy, appends transitions, releases commands.

Lives here: the loop, and being the one active scheduler or a standby. Does not live here: any decision (`policy`), the
state (`board`), HTTP (`app`). Safe against restarts, pauses and second schedulers at any point: everything is derived
from the log, each slot is granted on the schedulers' own subject, every transition and every claim expects the job as
the decision saw it (E2).
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

import structlog

from services.scheduler.board import Board
from services.scheduler.policy import Decision, Plan, Release, ReleaseKey, StartJob, Transition, World, plan
from services.scheduler.release import command_for
from shared.eventlog.job_history import load_job
from shared.eventlog.port import CommandQueue, ConflictError, EventLog, Expect, LogUnavailableError, Recorded
from shared.events.names import Stage
from shared.events.runtime import SchedulerTookOver, SchedulerTookOverData, SlotGranted, SlotGrantedData
from shared.events.subjects import SCHEDULER_GRANTS, event_subject, job_filter, job_of
from shared.events.types import Event, JobRequeued
from shared.identity import uuid7
from shared.job.model import Job
from shared.job.transitions import Command, Context, Refusal, Start, decide
from shared.tracing import Attributes, span

SOURCE = "urn:dubline:scheduler"
ACTOR = "scheduler"
LOOK_AGAIN_S = 1.0
"""When a decision could not be carried out (a conflict, a full queue, no broker), and between idle looks."""
PEER_POLL_S = 1.0
"""How often a standby asks whether the active scheduler lives."""

log = structlog.get_logger()


class Peers(Protocol):
    """How a standby knows whether to take over; being wrong costs a change of hands and never a cap."""

    async def alive(self, holder: str) -> bool: ...


class Scheduler:
    """One scheduler, active or standing by; `board` is what it knows of the log."""

    def __init__(
        self,
        events: EventLog,
        queue: CommandQueue,
        board: Board,
        *,
        holder: str,
        peers: Peers,
        world: Callable[[], World],
        observe: Callable[[Event, Job | None], None] = lambda _event, _job: None,
    ) -> None:
        """`observe` is told of every live event, with its job, once."""
        self.board = board
        self.holder = holder
        self.caught_up = asyncio.Event()
        self.draining = False
        self._events = events
        self._queue = queue
        self._peers = peers
        self.world = world
        self._observe = observe
        self._released: dict[ReleaseKey, datetime] = {}
        self._sent = 0
        self._grants_seen = 0
        self._changed = asyncio.Event()
        self._folded = asyncio.Condition()

    @property
    def leads(self) -> bool:
        """Whether this is the active scheduler, as far as the log was read."""
        return self.board.grants.holder == self.holder

    async def run(self) -> None:
        """Fold and decide for ever. Raises what ends a service: a closed connection."""
        target = await self._events.last()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(target.seq if target else 0))
            tasks.create_task(self._decide_for_ever())

    def look_again(self) -> None:
        """Decide again: something outside the log has changed."""
        self._changed.set()

    def drain(self) -> None:
        """Decide nothing any more; a standby may take over at once."""
        self.draining = True
        self._changed.set()

    async def _follow(self, caught_up_at: int) -> None:
        if caught_up_at <= self.board.seq:
            self.caught_up.set()
        async for batch in self._events.follow(after=self.board.seq):
            for recorded in batch:
                await self._apply(recorded)
            if self.board.seq >= caught_up_at:
                self.caught_up.set()
            self._changed.set()
            async with self._folded:
                self._folded.notify_all()

    async def _apply(self, recorded: Recorded) -> None:
        if recorded.seq <= self.board.seq:
            return
        job_id = job_of(recorded.subject)
        if isinstance(recorded.event, JobRequeued) and not self.board.knows(job_id):
            finished = await self._history(job_id, before=recorded.seq)
            if finished is not None:
                self.board.recall(finished)
        if recorded.event is None:
            log.error("event_quarantined", seq=recorded.seq, subject=recorded.subject, error=recorded.error)
        self._fold(recorded.seq, recorded.subject, recorded.event)

    def _fold(self, seq: int, subject: str, event: Event | None) -> None:
        job_id = job_of(subject)
        before = self.board.jobs.get(job_id)
        self.board.apply(seq, subject, event)
        if event is not None and self.caught_up.is_set():
            self._observe(event, self.board.jobs.get(job_id) or before)
        if not self.board.knows(job_id):
            self._forget(job_id)

    async def _history(self, job_id: str, before: int) -> Job | None:
        """Load a job, waiting out a broker that is away: one that is not folded whole would be a wrong one."""
        while True:
            try:
                job, _ = await load_job(self._events, job_id, up_to=before - 1)
            except LogUnavailableError:
                log.warning("log_unavailable", job_id=job_id)
                await asyncio.sleep(LOOK_AGAIN_S)
            else:
                return job

    def _forget(self, job_id: str) -> None:
        for key in [key for key in self._released if key[0] == job_id]:
            del self._released[key]

    async def _decide_for_ever(self) -> None:
        await self.caught_up.wait()
        while not self.draining:
            self._changed.clear()
            if not self.leads:
                await self._stand_by()
                continue
            world = self.world()
            self.board.queue.tick(world.now)
            made = plan(self.board, world, self._released)
            complete = await self._carry_out(made, world.now)
            await self._wait(made.wake_at if complete else None, world.now)

    async def _stand_by(self) -> None:
        holder = self.board.grants.holder
        if holder is None or not await self._peers.alive(holder):
            await self._take_over()
        if not self.leads:
            await self._pause(PEER_POLL_S)

    async def _take_over(self) -> None:
        data = SchedulerTookOverData(holder=self.holder)
        event = SchedulerTookOver(**self._envelope("scheduler", self.holder, self.world().now), data=data)
        with contextlib.suppress(ConflictError, LogUnavailableError):
            await self._append(event, Expect(SCHEDULER_GRANTS, self.board.grants.head))
            self._released.clear()
            log.info("scheduler_took_over", holder=self.holder, epoch=self.board.grants.epoch)

    async def _wait(self, wake_at: datetime | None, now: datetime) -> None:
        pause = LOOK_AGAIN_S
        if wake_at is not None:
            pause = min(pause, max(0.0, (wake_at - now).total_seconds()))
        await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for of Python 3.11 can swallow a cancellation
                await self._changed.wait()

    async def _carry_out(self, made: Plan, now: datetime) -> bool:
        """Return whether every decision took effect; what did not is decided again from what is true by then.

        Each decision stands only as long as its job, and the schedulers' subject, are as the plan saw them.
        """
        seen = {decision.job_id: self.board.heads[decision.job_id] for decision in made.decisions}
        self._grants_seen = self.board.grants.head
        complete = True
        for decision in made.decisions:
            try:
                complete &= await self._one(decision, seen[decision.job_id], now)
            except ConflictError:
                complete = False
            except LogUnavailableError:
                log.warning("log_unavailable", job_id=decision.job_id)
                return False
            if not self.leads:
                return False
        return complete

    async def _one(self, decision: Decision, seen: int, now: datetime) -> bool:
        job = self.board.jobs.get(decision.job_id)
        if job is None or self.board.heads[job.id] != seen:
            return False
        match decision:
            case Transition():
                return await self._transition(job, decision.command, seen, now)
            case StartJob():
                if decision.grant:
                    await self._grant(job, None, now)
                return await self._transition(job, Start(decision.settings), seen, now)
            case Release():
                if decision.grant:
                    await self._grant(job, decision.stage, now)
                return await self._release(job, decision, now)

    async def _grant(self, job: Job, stage: Stage | None, now: datetime) -> None:
        """Take a slot. Raises ConflictError if the schedulers' subject moved on: somebody else schedules."""
        data = SlotGrantedData(job_id=job.id, run=job.run, stage=stage, epoch=self.board.grants.epoch)
        event = SlotGranted(**self._envelope("scheduler", job.submitted_event_id, now), data=data)
        self._grants_seen = await self._append(event, Expect(SCHEDULER_GRANTS, self._grants_seen))

    async def _transition(self, job: Job, command: Command, seen: int, now: datetime) -> bool:
        with span("schedule", job.traceparent, {"job_id": job.id, "run": job.run}) as traced:
            event = decide(job, command, Context(uuid7(), now, SOURCE, ACTOR, traceparent=traced.traceparent))
            if isinstance(event, Refusal):
                log.warning("transition_refused", job_id=job.id, code=event.code, state=event.state)
                return False
            traced.set(event=event.type)
            seq = await self._append(event, Expect(job_filter(job.id), seen))
        log.info("job_transition", job_id=job.id, type=event.type, seq=seq)
        return True

    async def _release(self, job: Job, release: Release, now: datetime) -> bool:
        self._sent += 1
        told: Attributes = {"job_id": job.id, "stage": release.stage, "attempt": release.attempt}
        with span("schedule", job.traceparent, told) as traced:
            command = command_for(job, release, self.board.limits, traced.traceparent, self._sent)
            if not await self._queue.publish(command):
                return False
        for stage_key in [key for key in self._released if key[:2] == release.key[:2]]:
            del self._released[stage_key]
        self._released[release.key] = now
        self.board.breakers.begin_trials(job.id, release.stage, release.avoid, self.board.limits, now)
        log.info("stage_released", job_id=job.id, stage=release.stage, attempt=release.attempt, pool=release.pool)
        return True

    async def _append(self, event: Event, expect: Expect) -> int:
        """Append, and return once this scheduler's own board has folded what it appended."""
        seq = await self._events.append(event, expect)
        if seq == self.board.seq + 1:
            self._fold(seq, event_subject(event), event)
            self._changed.set()
        else:
            async with self._folded:
                await self._folded.wait_for(lambda: self.board.seq >= seq)
        return seq

    def _envelope(self, subject: str, correlationid: str, now: datetime) -> dict[str, Any]:
        return {
            "source": SOURCE,
            "subject": subject,
            "time": now,
            "actor": ACTOR,
            "correlationid": correlationid,
        }
