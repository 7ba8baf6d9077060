"""The scheduler's shell: folds the log, asks the policy, appends transitions, releases commands.

Lives here: the loop. Does not live here: any decision (`services.scheduler.policy`), HTTP (`services.scheduler.app`).
Safe against restarts at any point: everything is re-derived from the log, transitions carry the expected sequence
(E2), and the queue refuses a second command for a stage.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from services.scheduler.policy import Limits, Plan, Release, ReleaseKey, Transition, plan
from shared.commands import StageCommand
from shared.eventlog.port import CommandQueue, ConflictError, EventLog, Expect, LogUnavailableError, Recorded
from shared.events.subjects import job_filter, job_of
from shared.events.types import JobRequeued
from shared.identity import uuid7
from shared.job.aggregate import Context, Job, Refusal, decide, evolve
from shared.job.stages import GRAPH, POOL

SOURCE = "urn:dubline:scheduler"
ACTOR = "scheduler"
LOOK_AGAIN_S = 1.0
"""When a decision could not be carried out (a conflict, a full queue, no broker), and between idle looks."""

log = structlog.get_logger()


def utc_now() -> datetime:
    return datetime.now(UTC)


class Scheduler:
    """One scheduler; `jobs` holds every unfinished job, `quarantined` counts events that do not decode (E7)."""

    def __init__(
        self, events: EventLog, queue: CommandQueue, limits: Limits, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.jobs: dict[str, Job] = {}
        self.waiting: dict[str, str] = {}
        self.head = 0
        self.caught_up = asyncio.Event()
        self.quarantined = 0
        self._events = events
        self._queue = queue
        self._limits = limits
        self._now = now
        self._released: set[ReleaseKey] = set()
        self._heads: dict[str, int] = {}
        """Last sequence of each unfinished job's filter: events that do not decode count too (E7)."""
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Fold and decide for ever. Raises what ends a service: a closed connection."""
        target = await self._events.last()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(target.seq if target else 0))
            tasks.create_task(self._decide_for_ever())

    async def _follow(self, caught_up_at: int) -> None:
        if caught_up_at == 0:
            self.caught_up.set()
        async for batch in self._events.follow():
            for recorded in batch:
                await self._apply(recorded)
            self.head = batch[-1].seq
            if self.head >= caught_up_at:
                self.caught_up.set()
            self._changed.set()

    async def _apply(self, recorded: Recorded) -> None:
        job_id = job_of(recorded.subject)
        if job_id in self.jobs:
            self._heads[job_id] = recorded.seq
        if recorded.event is None:
            self.quarantined += 1
            log.error("event_quarantined", seq=recorded.seq, subject=recorded.subject, error=recorded.error)
            return
        job = self.jobs.get(job_id)
        if job is None and isinstance(recorded.event, JobRequeued):
            job = await self._fold(job_id, before=recorded.seq)
        self._keep(evolve(job, recorded.seq, recorded.event))
        if job_id in self.jobs:  # it may only now have come into memory
            self._heads[job_id] = recorded.seq

    async def _fold(self, job_id: str, before: int) -> Job | None:
        job: Job | None = None
        after = 0
        while batch := await self._events.read(job_filter(job_id), after=after):
            for recorded in batch:
                if recorded.event is not None and recorded.seq < before:
                    job = evolve(job, recorded.seq, recorded.event)
            after = batch[-1].seq
        return job

    def _keep(self, job: Job | None) -> None:
        """Finished jobs leave memory; a re-run folds its job again."""
        if job is None:
            return
        if job.state.terminal:
            self.jobs.pop(job.id, None)
            self._heads.pop(job.id, None)
            self._released = {key for key in self._released if key[0] != job.id}
        else:
            self.jobs[job.id] = job

    async def _decide_for_ever(self) -> None:
        await self.caught_up.wait()
        while True:
            self._changed.clear()
            made = plan(self.jobs, self._released, self._limits, self._now())
            self.waiting = made.waiting
            complete = await self._carry_out(made)
            await self._wait(made.wake_at if complete else None)

    async def _wait(self, wake_at: datetime | None) -> None:
        pause = LOOK_AGAIN_S
        if wake_at is not None:
            pause = min(pause, max(0.0, (wake_at - self._now()).total_seconds()))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), pause)

    async def _carry_out(self, made: Plan) -> bool:
        """Return whether every decision took effect; what did not is decided again from what is true by then."""
        complete = True
        for decision in made.decisions:
            try:
                if isinstance(decision, Transition):
                    complete &= await self._transition(decision)
                else:
                    complete &= await self._release(decision)
            except LogUnavailableError:
                log.warning("log_unavailable", job_id=decision.job_id)
                return False
        return complete

    async def _transition(self, decision: Transition) -> bool:
        job = self.jobs.get(decision.job_id)
        if job is None:
            return False
        context = Context(uuid7(), self._now(), SOURCE, ACTOR)
        event = decide(job, decision.command, context)
        if isinstance(event, Refusal):
            log.warning("transition_refused", job_id=job.id, code=event.code, state=event.state)
            return False
        try:
            seq = await self._events.append(event, Expect(job_filter(job.id), self._heads[job.id]))
        except ConflictError:
            return False
        log.info("job_transition", job_id=job.id, type=event.type, seq=seq)
        self._heads[job.id] = seq
        self._keep(evolve(job, seq, event))
        self._changed.set()
        return True

    async def _release(self, decision: Release) -> bool:
        job = self.jobs.get(decision.job_id)
        if job is None:
            return False
        if not await self._queue.publish(command_for(job, decision)):
            return False
        self._released.add((decision.job_id, decision.stage, decision.expected))
        log.info("stage_released", job_id=job.id, stage=decision.stage, attempt=decision.attempt)
        return True


def command_for(job: Job, release: Release) -> StageCommand:
    """Return the command for a stage, with the outputs and facts of the stages that it depends on."""
    needs = frozenset(GRAPH[release.stage])
    causes = [job.stages[need].completed_id for need in GRAPH[release.stage]]
    return StageCommand(
        id=f"{job.id}.{job.run}.{release.stage}.{release.attempt}.{release.expected}",
        job_id=job.id,
        run=job.run,
        stage=release.stage,
        attempt=release.attempt,
        pool=POOL[release.stage],
        expected=release.expected,
        job=job.submitted,
        inputs=job.outputs_of(needs),
        facts=job.facts_of(needs),
        correlationid=job.submitted_event_id,
        causationid=next((c for c in reversed(causes) if c), None) or job.submitted_event_id,
    )
