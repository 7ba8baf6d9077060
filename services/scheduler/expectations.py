"""What to expect of the jobs on the board.

Lives here: handing the board's jobs with their learned stage times to the forecast. Does not live here: learning
(`eta`), and playing the schedule (`forecast`). Pure.
"""

from services.scheduler.board import Board
from services.scheduler.eta import Estimate
from services.scheduler.forecast import Forecast, Remaining, Upcoming, forecast
from services.scheduler.policy import GPU_STAGES, World
from shared.events.names import Device, Stage
from shared.job.model import Job, JobState
from shared.job.stages import GRAPH


def expectations(board: Board, world: World, waiting: list[Job]) -> dict[str, Forecast]:
    """Return when each active and each of these waiting jobs is expected to start and end."""
    running = []
    for job_id in board.active:
        job = board.jobs[job_id]
        if job.state is JobState.QUEUED:
            continue
        stages = stages_of(board, job, world, only_claimed=job.state is not JobState.RUNNING)
        claimed = job.stages[job.claimed_stages[0]] if job.claimed_stages else None
        elapsed = (world.now - claimed.started_at).total_seconds() if claimed and claimed.started_at else None
        running.append(Remaining(job_id, job.submitted.owner, job.mode, stages, elapsed))
    queued = [
        Upcoming(job.id, job.submitted.owner, job.mode, stages_of(board, job, world), job.not_before)
        for job in waiting
        if job.state is JobState.QUEUED and board.limits.max_running
    ]
    return forecast(running, queued, board.limits, world.now)


def stages_of(board: Board, job: Job, world: World, *, only_claimed: bool = False) -> list[tuple[Stage, Estimate]]:
    """Return what a job still has to do, and how long each stage will take."""
    media_s = job.submitted.source.duration_s
    names = job.claimed_stages if only_claimed else [stage for stage in GRAPH if stage not in job.done_stages]
    return [(stage, board.speeds.estimate(stage, job.mode, _device(job, stage, world), media_s)) for stage in names]


def _device(job: Job, stage: Stage, world: World) -> str:
    """Return where the stage will run, as its event will say."""
    wanted: Device = job.submitted.device
    return "cuda" if stage in GPU_STAGES and world.hardware.gpu and wanted != "cpu" else "cpu"
