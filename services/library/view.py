"""What the library shows of a job: a pure function of its aggregate, and so of the log.

Lives here: the row of jobs.db, which is also the JSON of the API. Equal aggregates give equal bytes (E5).
Does not live here: live progress, which is not in the log (`services.library.live`).
"""

import posixpath
from datetime import datetime
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from shared.artifacts import Artifact
from shared.events.envelope import Timestamp
from shared.events.names import Device, Mode, Stage
from shared.events.types import Issue, Setting, Value
from shared.job.aggregate import Job, JobState, StageState, StageStatus
from shared.job.stages import GRAPH

Kind = Literal["mkv", "mp4", "subs"]

FILES_URL = "/files/"

KIND_OF_SUFFIX: dict[str, Kind] = {".mkv": "mkv", ".mp4": "mp4", ".srt": "subs", ".vtt": "subs"}

PROGRESS: dict[Stage, tuple[float, float]] = {
    "audio": (0.05, 0.10),
    "transcribe": (0.30, 0.60),
    "translate": (0.62, 0.75),
    "tts": (0.76, 0.95),
    "mix": (0.95, 0.97),
    "mux": (0.97, 0.99),
}
"""The job's progress when a stage starts and when it ends: the predecessor's scale, on our stages."""

DOING: dict[Stage, str] = {
    "audio": "Extracting audio",
    "transcribe": "Transcribing",
    "translate": "Translating",
    "tts": "Speaking",
    "mix": "Mixing",
    "mux": "Writing the video",
}

_AT_REST: dict[JobState, str] = {
    JobState.QUEUED: "Waiting in the queue",
    JobState.PAUSED: "Paused",
    JobState.RUNNING: "Starting",
    JobState.DONE: "Done",
    JobState.FAILED: "Failed",
    JobState.CANCELED: "Canceled",
}


class Shown(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StageView(Shown):
    """One stage of the timeline, seconds. `duration_s`: claim to outcome; `total_s`: in the child, with `engine_s`."""

    stage: Stage
    status: StageStatus
    attempt: int
    started_at: Timestamp | None
    ended_at: Timestamp | None
    duration_s: float | None
    load_s: float | None
    engine_s: float | None
    total_s: float | None
    engine: str | None
    engine_version: str | None
    device: str | None
    worker: str | None
    reused_from: str | None
    facts: dict[str, Value]
    error_code: str | None
    error: str | None


class OutputView(Shown):
    """A finished file; `path` is relative to the output root, `lang` the language of a subtitle."""

    kind: Kind
    name: str
    path: str
    url: str
    size_bytes: int
    sha256: str
    lang: str | None


class JobView(Shown):
    """A job as the library lists it; `version` is the sequence of its last event, `progress` 0..1.

    `mode` is the one that it runs in; lower than `requested_mode`, `degraded` says why. `settings` are what the workers
    run, from its start on, each with the reason for its value.
    """

    id: str
    owner_id: str
    title: str
    stem: str
    base_dir: str
    state: JobState
    progress: float
    message: str
    mode: Mode
    requested_mode: Mode
    degraded: list[str]
    settings: dict[str, Setting]
    priority: int
    pause_requested: bool
    device: Device
    src_lang: str
    tgt_lang: str
    detected_lang: str | None
    duration_s: float
    width: int
    height: int
    created_at: Timestamp
    updated_at: Timestamp
    started_at: Timestamp | None
    ended_at: Timestamp | None
    run: int
    version: int
    error_code: str | None
    error: str | None
    issues: list[Issue]
    stages: list[StageView]
    outputs: list[OutputView]


def job_progress(stages: dict[Stage, StageStatus], state: JobState, fractions: dict[Stage, float]) -> float:
    """Return a job's progress 0..1: the furthest stage's window, filled by that stage's own fraction 0..1."""
    if state is JobState.DONE:
        return 1.0
    reached = [0.0]
    for stage, status in stages.items():
        start, end = PROGRESS[stage]
        if status is StageStatus.DONE:
            reached.append(end)
        elif status is StageStatus.CLAIMED:
            reached.append(start + (end - start) * min(1.0, max(0.0, fractions.get(stage, 0.0))))
    return round(max(reached), 4)


def view_job(job: Job) -> JobView:
    """Return what is shown of a job."""
    submitted = job.submitted
    running = [stage for stage in GRAPH if job.stages[stage].status is StageStatus.CLAIMED]
    language = job.stages["transcribe"].facts.get("language")
    return JobView(
        id=job.id,
        owner_id=submitted.owner,
        title=submitted.title,
        stem=submitted.stem,
        base_dir=submitted.base_dir,
        state=job.state,
        progress=job_progress({name: stage.status for name, stage in job.stages.items()}, job.state, {}),
        message=DOING[running[-1]] if running and job.state is JobState.RUNNING else _AT_REST[job.state],
        mode=job.mode,
        requested_mode=submitted.mode,
        degraded=job.degraded,
        settings=dict(sorted(job.settings.items())),
        priority=job.priority,
        pause_requested=job.pause_requested,
        device=submitted.device,
        src_lang=submitted.src_lang,
        tgt_lang=submitted.tgt_lang,
        detected_lang=language if isinstance(language, str) else None,
        duration_s=submitted.source.duration_s,
        width=submitted.source.video.width,
        height=submitted.source.video.height,
        created_at=job.created_at,
        updated_at=job.updated_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        run=job.run,
        version=job.version,
        error_code=job.error_code,
        error=job.error,
        issues=job.issues or [issue for stage in GRAPH for issue in job.stages[stage].issues],
        stages=[_view_stage(stage, job.stages[stage]) for stage in GRAPH],
        outputs=outputs(job),
    )


def outputs(job: Job) -> list[OutputView]:
    """Return the files that a person may want, of the stages that are done: no work files."""
    work = f"work/{job.id}"
    found: dict[str, OutputView] = {}
    for stage in GRAPH:
        if job.stages[stage].status is not StageStatus.DONE:
            continue
        for artifact in job.stages[stage].outputs:
            kind = KIND_OF_SUFFIX.get(posixpath.splitext(artifact.path)[1])
            if kind and f"{work}/" not in artifact.path:
                found[artifact.path] = _view_output(kind, artifact)
    return sorted(found.values(), key=lambda output: (output.kind, output.path))


def _view_output(kind: Kind, artifact: Artifact) -> OutputView:
    name = posixpath.basename(artifact.path)
    parts = name.split(".")
    return OutputView(
        kind=kind,
        name=name,
        path=artifact.path,
        url=FILES_URL + quote(artifact.path),
        size_bytes=artifact.size,
        sha256=artifact.sha256,
        lang=parts[-2] if kind == "subs" and len(parts) > 2 else None,  # <stem>.<lang>.<srt or vtt>
    )


def _view_stage(name: Stage, stage: StageState) -> StageView:
    engine, timings = stage.engine, stage.timings
    return StageView(
        stage=name,
        status=stage.status,
        attempt=stage.attempt,
        started_at=stage.started_at,
        ended_at=stage.ended_at,
        duration_s=_seconds(stage.started_at, stage.ended_at),
        load_s=timings.load_s if timings else None,
        engine_s=timings.engine_s if timings else None,
        total_s=timings.total_s if timings else None,
        engine=engine.name if engine else None,
        engine_version=engine.version if engine else None,
        device=engine.device if engine else None,
        worker=stage.worker,
        reused_from=stage.reused_from,
        facts=dict(sorted(stage.facts.items())),
        error_code=stage.error_code,
        error=stage.error,
    )


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return round((end - start).total_seconds(), 3) if start and end else None
