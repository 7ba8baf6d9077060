"""What operators are told: the board, the workers and the forecast as one answer.

Lives here: `GET /api/runtime/state` and `/api/runtime/models` as values. Does not live here: HTTP (`app`), why a job
waits (`explain`), what to expect (`forecast`). Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from services.scheduler import explain
from services.scheduler.board import Board
from services.scheduler.expectations import expectations
from services.scheduler.forecast import Forecast
from services.scheduler.policy import World
from services.scheduler.workers import ALIVE_S, Seen
from shared.events.policy import JobDegraded, JobDelayed, JobRestored
from shared.events.runtime import PrewarmProgressed, PrewarmRequested
from shared.job.model import Job, JobState, StageStatus
from shared.job.stages import ready
from shared.runtime_state import (
    Breaker,
    Cap,
    ConsumerLag,
    DeadLetter,
    Degradation,
    Disk,
    ModelState,
    OwnerUse,
    PrewarmStep,
    PrewarmTask,
    QueuedJob,
    RunningJob,
    RuntimeModels,
    RuntimeState,
    Summary,
    WorkerState,
)

SILENT = "its worker is silent; another one takes the stage over when the lease ends"


@dataclass(frozen=True)
class Around:
    """What a state shows besides the board: this process, the workers with their heartbeats' ages, and the queues."""

    leads: bool
    draining: bool = False
    workers: list[tuple[Seen, float]] = field(default_factory=list)
    consumers: list[ConsumerLag] = field(default_factory=list)

    @property
    def living(self) -> set[str]:
        """Names of the workers that beat lately."""
        return {seen.beat.worker for seen, age in self.workers if age < ALIVE_S}


def runtime_state(
    board: Board, world: World, around: Around, limit: int, also: frozenset[str] = frozenset()
) -> RuntimeState:
    """Return the answer, with the first `limit` waiting jobs and those of `also`, wherever they stand."""
    waiting = explain.in_order(board, world, limit, also)
    expected = expectations(board, world, [one.job for one in waiting])
    active = [board.jobs[job_id] for job_id in board.active if board.jobs[job_id].state is not JobState.QUEUED]
    return RuntimeState(
        head=board.seq,
        leader=around.leads,
        holder=board.grants.holder,
        epoch=board.grants.epoch,
        draining=around.draining,
        state=Summary(
            queue_len=len(board.queue),
            active_global=len(board.active),
            limits=board.limits.named(),
            active_phase={job.id: next(iter(job.claimed_stages), None) for job in active},
        ),
        caps=_caps(board, world),
        queue=[_queued(one, expected.get(one.job.id)) for one in waiting],
        queue_total=len(board.queue) + len(board.paused),
        running=[_running(board, job, world, around, expected.get(job.id)) for job in active],
        workers=[_worker(seen, age) for seen, age in around.workers],
        degradations=[_degradation(d.job_id, d.at, d.event) for d in reversed(board.degradations)],
        breakers=_breakers(board, world),
        dead_letters=[
            DeadLetter(job_id=job_id, stage=event.data.stage or "audio", message=event.data.message, at=event.time)
            for job_id, event in reversed(board.dead_letters.items())
        ],
        consumers=around.consumers,
        disk=_disk(board, world),
        quarantined_events=board.quarantined,
        over_users=_owners(board, world),
    )


def runtime_models(board: Board, world: World, seen: Iterable[Seen]) -> RuntimeModels:
    """Return which models are where, and how far prewarming is."""
    beats = [one.beat for one in seen]
    return RuntimeModels(
        disk=_disk(board, world),
        models=[
            ModelState(
                id=model,
                present_on=[beat.worker for beat in beats if model in beat.models],
                loaded_on=[beat.worker for beat in beats if any(_holds(name, model) for name in beat.loaded_engines)],
            )
            for model in sorted({model for beat in beats for model in beat.models})
        ],
        prewarm=[_prewarm(steps) for steps in reversed(board.prewarms.values())],
    )


def _holds(engine: str, model: str) -> bool:
    """A loaded engine is told as `name` or `name:model`."""
    return engine == model or engine.endswith(f":{model}") or model.startswith(engine)


def _caps(board: Board, world: World) -> list[Cap]:
    owners = [board.ledger.use(owner, world.now) for owner in board.ledger.owners]
    used: dict[str, float] = {
        "MAX_CONCURRENCY_GLOBAL": len(board.active),
        "MAX_CONCURRENCY_TRANSCRIBE": board.in_phase("transcribe"),
        "MAX_CONCURRENCY_TTS": board.in_phase("tts"),
        "MAX_JOBS_HIGH": board.in_mode("high"),
        "MAX_JOBS_MEDIUM": board.in_mode("medium"),
        "MAX_JOBS_LOW": board.in_mode("low"),
        "MAX_CONCURRENT": max((board.queue.running(owner) for owner in board.ledger.owners), default=0),
        "DAILY_PROCESSING_MINUTES": max((use.media_s / 60 for use in owners), default=0.0),
        "MAX_QUEUED_PER_USER": max(board.waiting_of.values(), default=0),
        "JOBS_PER_DAY_PER_USER": max((use.started for use in owners), default=0),
        "MAX_STORAGE_BYTES_PER_USER": max((use.stored_bytes for use in owners), default=0),
        "BACKPRESSURE_Q_MAX": board.pressure,
        "MIN_FREE_GB": world.free_gb or 0.0,
    }
    limits = board.limits.named()
    return [
        Cap(name=name, used=round(used[name], 2), limit=limit, overridden=name in board.overrides)
        for name, limit in limits.items()
    ]


def _queued(one: explain.Waiting, expected: Forecast | None) -> QueuedJob:
    job, why = one.job, one.why
    return QueuedJob(
        job_id=job.id,
        owner=job.submitted.owner,
        position=one.position,
        priority=job.priority,
        mode=job.mode,
        requested_mode=job.submitted.mode,
        degraded=job.degraded,
        state="PAUSED" if job.state is JobState.PAUSED else "QUEUED",
        reason=why.reason,
        reason_code=why.code,
        queued_at=job.queued_at,
        expected_start=expected.start if expected else None,
        expected_start_low=expected.start_low if expected else None,
        expected_start_high=expected.start_high if expected else None,
        expected_end=expected.end if expected else None,
        expected_end_low=expected.end_low if expected else None,
        expected_end_high=expected.end_high if expected else None,
    )


def _running(board: Board, job: Job, world: World, around: Around, expected: Forecast | None) -> RunningJob:
    claimed = next(iter(job.claimed_stages), None)
    stage = claimed or next(iter(ready(job.done_stages)), None)
    state = job.stages[stage] if stage else None
    why = explain.between_stages(board, job, world)
    silent = state is not None and claimed is not None and state.worker not in around.living
    return RunningJob(
        job_id=job.id,
        owner=job.submitted.owner,
        mode=job.mode,
        stage=stage,
        stage_status=state.status if state else StageStatus.DONE,
        attempt=state.attempt if state else 0,
        worker=state.worker if state and claimed else None,
        since=state.started_at if state and claimed else None,
        reason=SILENT if silent else why.reason if why else "",
        pause_requested=job.pause_requested,
        expected_end=expected.end if expected else None,
        expected_end_low=expected.end_low if expected else None,
        expected_end_high=expected.end_high if expected else None,
    )


def _worker(seen: Seen, age: float) -> WorkerState:
    beat = seen.beat.model_dump(include={*WorkerState.model_fields})
    return WorkerState(**beat, heartbeat_age_s=round(age, 2), alive=age < ALIVE_S)


def _degradation(job_id: str, at: datetime, event: JobDegraded | JobRestored | JobDelayed) -> Degradation:
    match event:
        case JobDegraded():
            data = event.data
            return Degradation(
                job_id=job_id,
                at=at,
                kind="degraded",
                from_mode=data.from_mode,
                to_mode=data.to_mode,
                reason=data.reason,
            )
        case JobRestored():
            return Degradation(job_id=job_id, at=at, kind="restored", to_mode=event.data.mode, reason=event.data.reason)
        case JobDelayed():
            return Degradation(job_id=job_id, at=at, kind="delayed", until=event.data.until, reason=event.data.reason)


def _breakers(board: Board, world: World) -> list[Breaker]:
    found = []
    for name, breaker in sorted(board.breakers.known.items()):
        state = board.breakers.state(name, board.limits, world.now)
        until = board.breakers.until(name, board.limits) if state != "closed" else None
        found.append(Breaker(engine=name, state=state, failures=breaker.failures, until=until))
    return found


def _disk(board: Board, world: World) -> Disk | None:
    if world.free_gb is None:
        return None
    return Disk(free_gb=round(world.free_gb, 2), floor_gb=board.limits.min_free_gb)


def _owners(board: Board, world: World) -> list[OwnerUse]:
    found = []
    for owner in sorted(board.ledger.owners):
        use = board.ledger.use(owner, world.now)
        running, queued = board.queue.running(owner), board.waiting_of.get(owner, 0)
        if running or queued or use.media_s:
            found.append(
                OwnerUse(
                    owner=owner,
                    running=running,
                    queued=queued,
                    minutes_today=round(use.media_s / 60, 2),
                    minutes_limit=board.limits.user_daily_minutes,
                    jobs_today=use.started,
                )
            )
    return found


def _prewarm(steps: list[PrewarmRequested | PrewarmProgressed]) -> PrewarmTask:
    request = next(step for step in steps if isinstance(step, PrewarmRequested))
    told = [step for step in steps if isinstance(step, PrewarmProgressed)]
    last = {
        (step.data.worker, step.data.model): step for step in told if step.data.model and step.data.state != "finished"
    }
    begun = {step.data.worker for step in told}
    ended = {step.data.worker for step in told if step.data.state == "finished"}
    failed = any(step.data.state == "failed" for step in last.values())
    if not begun:
        state = "requested"
    elif begun - ended:
        state = "running"
    else:
        state = "failed" if failed else "finished"
    return PrewarmTask(
        task=request.data.task,
        preset=request.data.preset,
        requested_at=request.time,
        state=state,
        steps=[
            PrewarmStep(worker=worker, model=model, state=step.data.state, detail=step.data.detail, at=step.time)
            for (worker, model), step in last.items()
        ],
    )
