"""What the scheduler does next, as a function over values.

Lives here: starting jobs under every cap, releasing stages, retries, pauses, backpressure's verdicts, the end of a job.
Does not live here: the state (`board`), the order of the queue (`fair`), time, randomness and the bus (`service` passes
them in and carries decisions out), and why a job waits in words (`explain`).
The cost of a plan grows with the running jobs, which are capped, and not with the queue.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zlib import crc32

from services.scheduler.board import Board
from services.scheduler.limits import Limits
from services.scheduler.quotas import refusal, seconds_left
from shared.events.envelope import Value
from shared.events.names import Mode, Pool, Stage
from shared.events.types import Setting
from shared.job.model import DISK_FULL, Job, JobState, StageState, StageStatus
from shared.job.modes import Hardware, command_settings, effective
from shared.job.stages import POOL, ready
from shared.job.transitions import Command, Complete, Degrade, Delay, Fail, PauseNow, Restore

RELEASE_AGAIN_S = 30.0
"""A command that nobody claimed for so long is sent again: the queue refuses it if it still holds the first one."""
DISK_RETRY_S = 60.0
"""How soon a stage that found the disk full is tried again once there is space above the floor."""
VERDICT_S = 0.2
GPU_STAGES: frozenset[Stage] = frozenset({"transcribe", "translate", "tts"})
BUSY = "backpressure_degraded"


@dataclass(frozen=True)
class World:
    """What is not in the log: the time, the free space of the output volume, and what the live workers have."""

    now: datetime
    free_gb: float | None = None
    hardware: Hardware = field(default_factory=Hardware)
    pools: frozenset[Pool] = frozenset({"cpu"})
    """Pools with a live worker."""


@dataclass(frozen=True)
class Transition:
    """Append the event that `command` makes of this job."""

    job_id: str
    command: Command


@dataclass(frozen=True)
class StartJob:
    """Give the job a slot: grant it unless that has happened, then append `started`."""

    job_id: str
    settings: Mapping[str, Setting]
    grant: bool


@dataclass(frozen=True)
class Release:
    """Put a command for this stage on the work queue, after a grant if its phase is capped."""

    job_id: str
    stage: Stage
    attempt: int
    expected: int
    version: int
    pool: Pool
    grant: bool
    settings: Mapping[str, Value] = field(default_factory=dict)
    avoid: tuple[str, ...] = ()

    @property
    def key(self) -> "ReleaseKey":
        return self.job_id, self.stage, self.version


Decision = Transition | StartJob | Release

ReleaseKey = tuple[str, Stage, int]
"""(job, stage, last sequence of the job): whatever happens to the job makes a new command for its stage possible."""


@dataclass(frozen=True)
class Plan:
    """Decisions to carry out now, and when to look again without a new event."""

    decisions: list[Decision]
    wake_at: datetime | None


def backoff(failures: int, limits: Limits, job_id: str, stage: Stage) -> timedelta:
    """Return the pause after the 1st, 2nd, … failure: base doubling up to the cap, times a jitter of 0.5 to 1.5.

    The jitter is a hash of the job and the failure, so that the same log always gives the same plan.
    """
    jitter = crc32(f"{job_id}{stage}{failures}".encode()) / 0xFFFFFFFF
    pause = min(limits.retry_cap_s, limits.retry_base_s * 2 ** min(failures - 1, 30))
    return timedelta(seconds=pause * (0.5 + jitter))


def plan(board: Board, world: World, released: Mapping[ReleaseKey, datetime]) -> Plan:
    """Return what to do next. At most one job is started: what follows is decided when the log shows that start.

    `released` are the commands that this scheduler sent, with their times; after a restart it is empty, and the queue
    itself refuses the second command of a stage.
    """
    limits = board.limits
    decisions: list[Decision] = []
    wakes: list[datetime] = [board.queue.held[0][0]] if board.queue.held else []
    low = disk_low(world, limits)
    taken = {stage: board.in_phase(stage) for stage in limits.phases}
    for job_id in board.active:
        job = board.jobs[job_id]
        if job.state is JobState.RUNNING and not job.claimed_stages:
            made, wake = _advance(board, job, world, released, taken, hold=low)
            decisions += made
            wakes += [wake] if wake is not None else []
    decisions += _verdicts(board)
    if not low and world.pools:
        decisions += _start(board, world)
    return Plan(decisions, min(wakes, default=None))


def disk_low(world: World, limits: Limits) -> bool:
    """Return whether jobs wait for space."""
    return world.free_gb is not None and world.free_gb < limits.min_free_gb


def _advance(
    board: Board,
    job: Job,
    world: World,
    released: Mapping[ReleaseKey, datetime],
    taken: dict[Stage, int],
    *,
    hold: bool,
) -> tuple[list[Decision], datetime | None]:
    """Return what a running job at a stage boundary needs; `taken` counts the slots of capped stages."""
    stages = ready(job.done_stages)
    if not stages:
        return [Transition(job.id, Complete())], None
    if job.pause_requested:
        return [Transition(job.id, PauseNow())], None
    decisions: list[Decision] = []
    wakes: list[datetime] = []
    for name in stages:
        if (end := hopeless(job, name, board.limits)) is not None:
            return [Transition(job.id, end)], None
        due = due_at(job, name, board.limits)
        sent = released.get((job.id, name, board.heads[job.id]))
        if sent is not None:
            due = max(due, sent + timedelta(seconds=RELEASE_AGAIN_S))
        if hold or due > world.now:
            wakes += [] if hold else [due]
            continue
        granted = board.grants.granted(job.id, name)
        cap = board.limits.phases.get(name, 0)
        if cap and not granted:
            if taken[name] >= cap:
                continue
            taken[name] += 1
        decisions.append(_release(board, job, name, world, grant=bool(cap) and not granted))
    return decisions, min(wakes, default=None)


def hopeless(job: Job, name: Stage, limits: Limits) -> Fail | None:
    """Return the end of a job whose stage cannot succeed or failed too often, else None."""
    stage = job.stages[name]
    if stage.status is not StageStatus.FAILED:
        return None
    if stage.retryable and stage.failures < limits.retry_max:
        return None
    return Fail(name, stage.error_code or "stage_failed", stage.error or "the stage failed")


def due_at(job: Job, name: Stage, limits: Limits) -> datetime:
    """Return when a stage may run: at once, or after the pause that follows a failure."""
    stage = job.stages[name]
    if stage.status is not StageStatus.FAILED or stage.ended_at is None:
        return datetime.min.replace(tzinfo=UTC)
    if stage.error_code == DISK_FULL:
        return stage.ended_at + timedelta(seconds=DISK_RETRY_S)
    return stage.ended_at + backoff(stage.failures, limits, job.id, name)


def _release(board: Board, job: Job, name: Stage, world: World, *, grant: bool) -> Release:
    stage = job.stages[name]
    return Release(
        job.id,
        name,
        next_attempt(stage),
        stage.seq,
        board.heads[job.id],
        pool_for(job, name, world.pools),
        grant,
        command_settings(job.settings, name, stage.out_of_memory, world.hardware.models),
        tuple(board.breakers.avoided(job.id, name, board.limits, world.now)),
    )


def pool_for(job: Job, stage: Stage, pools: Iterable[Pool]) -> Pool:
    """Return the pool that serves a stage: the GPU's if one lives and the job's settings allow it."""
    device = job.settings["device"].value if "device" in job.settings else job.submitted.device
    return "gpu" if stage in GPU_STAGES and "gpu" in pools and device != "cpu" else POOL[stage]


def next_attempt(stage: StageState) -> int:
    """Return the attempt number of the next command; a stage handed back unfinished has not used its attempt up."""
    return stage.attempt + 1 if stage.status in (StageStatus.PENDING, StageStatus.FAILED) else stage.attempt


def _verdicts(board: Board) -> list[Decision]:
    """Return what quotas and backpressure do to waiting jobs, and what is taken back when the pressure is gone."""
    decisions: list[Decision] = []
    for job_id, fail in board.refused.items():
        decisions.append(Transition(job_id, fail))
    for job_id, verdict in board.verdicts.items():
        job = board.jobs[job_id]
        if job.mode != verdict.mode and not job.restored:
            decisions.append(Transition(job_id, Degrade(verdict.mode, verdict.queue_len, BUSY)))
        elif verdict.delay_s:
            until = job.queued_at + timedelta(seconds=verdict.delay_s)
            decisions.append(Transition(job_id, Delay(until, verdict.queue_len, "backpressure_delayed")))
    q_max = board.limits.backpressure_q_max
    if board.degraded and (q_max <= 0 or board.pressure <= q_max):
        waiting = [job_id for job_id in board.degraded if not board.jobs[job_id].restored]
        decisions += [Transition(job_id, Restore("the queue is short again")) for job_id in waiting]
    return decisions


def _start(board: Board, world: World) -> list[Decision]:
    limits = board.limits
    inherited = sorted(job_id for job_id, stage in board.grants.open if stage is None)
    if inherited:
        return [_start_job(board, inherited[0], world, grant=False)]
    if len(board.active) >= limits.max_running:
        return []

    def mode_may(mode: Mode) -> bool:
        cap = limits.modes.get(mode, 0)
        return not cap or board.in_mode(mode) < cap

    def refused_until(owner: str, job_id: str) -> datetime | None:
        if job_id in board.verdicts:  # what backpressure makes of it is being written
            return world.now + timedelta(seconds=VERDICT_S)
        use = board.ledger.use(owner, world.now)
        refused = refusal(use, board.queue.running(owner), board.jobs[job_id], limits)
        return None if refused is None else world.now + timedelta(seconds=seconds_left(world.now))

    job_id = board.queue.pick(world.now, mode_may, refused_until)
    return [] if job_id is None else [_start_job(board, job_id, world, grant=True)]


def _start_job(board: Board, job_id: str, world: World, *, grant: bool) -> StartJob:
    job = board.jobs[job_id]
    submitted = job.submitted
    return StartJob(job_id, effective(job.mode, submitted.device, submitted.overrides, world.hardware), grant)
