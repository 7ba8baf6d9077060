"""Why a job waits, in words.

Lives here: the reasons, by the same rules as `policy` and for people. Pure; computed when somebody asks, because its
cost grows with the queue. A reason's code is for programs.
"""

from dataclasses import dataclass

from services.scheduler.board import Board
from services.scheduler.policy import World, disk_low, due_at, hopeless
from services.scheduler.quotas import Refused, refusal
from shared.job.model import Job, JobState
from shared.job.stages import ready


def installation(board: Board, world: World) -> Refused | None:
    """Return what keeps every job from starting, or None."""
    if not world.pools:
        return Refused("no_worker", "no worker is there: start one")
    if disk_low(world, board.limits):
        free, floor = world.free_gb or 0.0, board.limits.min_free_gb
        return Refused("disk_low", f"{free:.1f} GB are free on the disk and {floor:g} GB are needed: free some space")
    return None


def waiting(board: Board, job: Job, world: World, before: int) -> Refused:
    """Return why a queued or paused job does not run; `before` jobs are ahead of it."""
    own = _own(job, world)
    if own is not None:
        return own
    limits = board.limits
    everyone = installation(board, world)
    if everyone is not None:
        return everyone
    owner = job.submitted.owner
    use = board.ledger.use(owner, world.now)
    quota = refusal(use, board.queue.running(owner), job, limits)
    if quota is not None:
        return quota
    cap = limits.modes.get(job.mode, 0)
    in_mode = board.in_mode(job.mode)
    if cap and in_mode >= cap:
        return Refused("mode_cap", f"{in_mode} of {cap} jobs in mode {job.mode} are running")
    active = len(board.active)
    if active >= limits.max_running:
        ahead = f"; {before} more go first" if before else ""
        return Refused("global_cap", f"{active} of {limits.max_running} jobs are running{ahead}")
    return Refused("order", f"{before} jobs go first" if before else "it starts now")


def _own(job: Job, world: World) -> Refused | None:
    if job.state is JobState.PAUSED:
        return Refused("paused", "paused")
    if job.not_before is not None and job.not_before > world.now:
        seconds = (job.not_before - world.now).total_seconds()
        return Refused("delayed", f"the queue is long: held back for {seconds:.0f} more seconds")
    return None


def between_stages(board: Board, job: Job, world: World) -> Refused | None:
    """Return why no worker has the next stage of an active job, or None if one has."""
    if job.claimed_stages:
        return None
    if job.state is JobState.QUEUED:
        return Refused("starting", "it starts now")
    if job.pause_requested:
        return Refused("pausing", "it pauses now")
    for stage in ready(job.done_stages):
        due = due_at(job, stage, board.limits)
        if hopeless(job, stage, board.limits) is not None:
            continue
        everyone = installation(board, world)
        if everyone is not None:
            return everyone
        if due > world.now:
            seconds = (due - world.now).total_seconds()
            why = job.stages[stage].error_code
            return Refused("backoff", f"{stage} failed ({why}) and is tried again in {seconds:.0f} seconds")
        cap = board.limits.phases.get(stage, 0)
        if cap and not board.grants.granted(job.id, stage) and board.in_phase(stage) >= cap:
            return Refused("phase_cap", f"{board.in_phase(stage)} of {cap} jobs are in stage {stage}")
        return Refused("worker", f"waits for a worker to take {stage}")
    return None


@dataclass(frozen=True)
class Waiting:
    """A waiting job, its place in the queue from 1, and why it waits."""

    job: Job
    position: int
    why: Refused


def in_order(board: Board, world: World, limit: int, also: frozenset[str] = frozenset()) -> list[Waiting]:
    """Return the first `limit` waiting jobs in the order in which they start, paused ones last, and those of `also`."""
    everything = also.difference(board.active)
    places = board.queue.order(world.now, max(limit, len(board.queue) if everything else 0))
    places += board.paused.islice(0, max(0, limit - len(places)) if not everything else None)
    found = []
    for before, job_id in enumerate(places):
        if before < limit or job_id in also:
            job = board.jobs[job_id]
            found.append(Waiting(job, before + 1, waiting(board, job, world, before)))
    return found
