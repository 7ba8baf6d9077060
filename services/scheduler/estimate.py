"""What a job would take that nobody has submitted yet.

Lives here: a job that is supposed, put into the same order, the same forecast and the same admission as real ones. Does
not live here: those three (`fair`, `forecast`, `admission`). Pure: nothing is reserved, and the board stays as it is.
"""

from datetime import datetime, timedelta

from services.scheduler.admission import Admission
from services.scheduler.backpressure import judge
from services.scheduler.board import Board, entry_of
from services.scheduler.eta import Estimate
from services.scheduler.expectations import expectations, stages_of
from services.scheduler.forecast import AHEAD, Upcoming, forecast
from services.scheduler.policy import World
from shared.events.names import Mode, Stage
from shared.events.types import (
    AudioTrack,
    ImportedStage,
    JobSubmitted,
    JobSubmittedData,
    SourceMedia,
    VideoTrack,
)
from shared.job.aggregate import evolve
from shared.job.model import Job, changed
from shared.job.modes import effective
from shared.runtime_state import AdmitRequest, EstimateAnswer, EstimateRequest, SecondsRange, StageSeconds

SUPPOSED = "supposed"
"""The id of a job that is none; no real one is like this."""
JITTER = 0.5
"""Of a delay under backpressure, which has a random part: its middle."""


def estimate(request: EstimateRequest, board: Board, world: World, admission: Admission) -> EstimateAnswer:
    """Return what the scheduler would do with this job if it came now."""
    job = _supposed(request, board, world.now)
    order = board.queue.order(world.now, AHEAD, also=entry_of(job))
    ahead = order.index(SUPPOSED) if SUPPOSED in order else len(board.queue)
    waiting = [board.jobs[job_id] for job_id in order[:ahead] if job_id != SUPPOSED]
    stages = stages_of(board, job, world)
    expected = expectations(board, world, [*waiting, job]).get(SUPPOSED) if world.pools else None
    alone = forecast([], [Upcoming(SUPPOSED, request.owner, job.mode, stages)], board.limits, world.now)
    wait = total = None
    if expected is not None and expected.start is not None:
        wait = _range(world.now, expected.start_low, expected.start, expected.start_high)
        total = _range(world.now, expected.end_low, expected.end, expected.end_high)
    asked = AdmitRequest(
        owner=request.owner,
        job_id=SUPPOSED,
        bytes=request.bytes,
        duration_s=request.duration_s,
        promised=request.promised,
    )
    return EstimateAnswer(
        admission=admission.peek(asked, board, world),
        left=admission.left(request.owner, board, world, request.promised),
        mode=job.mode,
        ahead=ahead,
        waiting=wait,
        work=_work(stages, alone[SUPPOSED].end_low, alone[SUPPOSED].end_high, world.now),
        total=total,
        stages=[StageSeconds(stage=name, seconds=_seconds(one), samples=one.samples) for name, one in stages],
        settings=effective(job.mode, request.device, request.overrides, world.hardware),
        free_bytes=None if world.free_gb is None else int(world.free_gb * (1 << 30)),
        floor_bytes=int(board.limits.min_free_gb * (1 << 30)),
    )


def _supposed(request: EstimateRequest, board: Board, now: datetime) -> Job:
    source = SourceMedia(
        path="",
        sha256="",
        size=request.bytes,
        container="",
        duration_s=request.duration_s,
        video=VideoTrack(index=0, codec="", width=0, height=0, frame_rate="0/1"),
        audio=AudioTrack(index=1, codec="", channels=2, layout="stereo", sample_rate=48_000),
    )
    data = JobSubmittedData(
        owner=request.owner,
        title="",
        stem="",
        base_dir="",
        source=source,
        src_lang="auto",
        tgt_lang="",
        mode=request.mode,
        device=request.device,
        priority=request.priority,
        degrade=request.degrade,
        overrides=request.overrides,
        imports={stage: ImportedStage(outputs=[]) for stage in request.imported},
    )
    event = JobSubmitted(
        id=SUPPOSED, source=SUPPOSED, subject=SUPPOSED, time=now, actor=request.owner, correlationid=SUPPOSED, data=data
    )
    job = evolve(None, board.seq + 1, event)
    assert job is not None
    limit = board.limits.backpressure_q_max
    verdict = judge(request.mode, may_degrade=request.degrade, queue_len=board.pressure + 1, q_max=limit, random=JITTER)
    if verdict is None:
        return job
    mode: Mode = verdict.mode
    until = now + timedelta(seconds=verdict.delay_s) if verdict.delay_s else None
    return changed(job, {"mode": mode, "not_before": until})


def _range(now: datetime, low: datetime | None, expected: datetime, high: datetime | None) -> SecondsRange:
    def seconds(moment: datetime | None) -> float:
        return round(max(0.0, ((moment or expected) - now).total_seconds()), 1)

    return SecondsRange(low=seconds(low), expected=seconds(expected), high=seconds(high))


def _work(stages: list[tuple[Stage, Estimate]], low: datetime, high: datetime, now: datetime) -> SecondsRange:
    """Return the stages' sum; its interval is that of the same job alone on an idle system, where errors even out."""
    middle = sum(one.mid_s for _, one in stages)
    return SecondsRange(
        low=round((low - now).total_seconds(), 1),
        expected=round(middle, 1),
        high=round((high - now).total_seconds(), 1),
    )


def _seconds(one: Estimate) -> SecondsRange:
    return SecondsRange(low=round(one.low_s, 1), expected=round(one.mid_s, 1), high=round(one.high_s, 1))
