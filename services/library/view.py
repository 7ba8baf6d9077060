"""What the library shows of a job: a pure function of its aggregate, and so of the log.

Lives here: the row of jobs.db, which is also the JSON of the API. Equal aggregates give equal bytes (E5).
Does not live here: live progress, which is not in the log (`services.library.live`).
"""

import posixpath
from datetime import datetime
from operator import itemgetter
from typing import Any, TypeVar
from urllib.parse import quote

import orjson
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from shared.artifacts import Artifact
from shared.events.envelope import Timestamp, Value
from shared.events.library import Visibility
from shared.events.names import Device, Mode, Stage
from shared.events.types import Issue, Setting
from shared.job.model import Job, JobState, StageState, StageStatus
from shared.job.stages import GRAPH
from shared.keeping import Keeping
from shared.outputs import FILES_URL, Kind, kind_of

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


T = TypeVar("T")


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
    seq: int
    """The sequence of the event that made it."""
    owner_id: str
    title: str
    stem: str
    base_dir: str
    project_id: str | None
    project_name: str | None
    preset_id: str | None
    tags: list[str]
    archived: bool
    archived_at: Timestamp | None
    visibility: Visibility
    imported: bool
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
    outputs_summary: list[Kind]
    """The kinds of its outputs, each once; the outputs themselves are `OutputsView`."""
    keeping: Keeping | None = Field(None, exclude_if=lambda keeping: keeping is None)
    """What outlives its end; absent where everything does."""


class OutputsView(Shown):
    """What a job made: its row in `job_outputs`, which a job that made nothing does not have."""

    job_id: str
    base_dir: str
    updated_at: Timestamp
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


def job_row(job: Job) -> dict[str, Any]:
    """Return the members of a job's row, ready for JSON: those of `JobView`, in its order.

    Plain values and no models: the projector makes one of these for each job of each batch.
    """
    submitted, stages, state = job.submitted, job.stages, job.state
    statuses = {name: stage.status for name, stage in stages.items()}
    running = [name for name in GRAPH if statuses[name] is StageStatus.CLAIMED] if state is JobState.RUNNING else []
    language = stages["transcribe"].facts.get("language")
    issues = job.issues or [issue for name in GRAPH for issue in stages[name].issues]
    return {
        "id": job.id,
        "seq": job.created_seq,
        "owner_id": submitted.owner,
        "title": submitted.title,
        "stem": submitted.stem,
        "base_dir": submitted.base_dir,
        "project_id": submitted.project_id,
        "project_name": submitted.project_name,
        "preset_id": submitted.preset_id,
        "tags": job.tags,
        "archived": job.archived_at is not None,
        "archived_at": _time(job.archived_at),
        "visibility": job.visibility,
        "imported": job.imported is not None,
        "state": state.value,
        "progress": job_progress(statuses, state, {}),
        "message": DOING[running[-1]] if running else _AT_REST[state],
        "mode": job.mode,
        "requested_mode": submitted.mode,
        "degraded": job.degraded,
        "settings": {name: {"value": chosen.value, "reason": chosen.reason} for name, chosen in _sorted(job.settings)},
        "priority": job.priority,
        "pause_requested": job.pause_requested,
        "device": submitted.device,
        "src_lang": submitted.src_lang,
        "tgt_lang": submitted.tgt_lang,
        "detected_lang": language if isinstance(language, str) else None,
        "duration_s": submitted.source.duration_s,
        "width": submitted.source.video.width,
        "height": submitted.source.video.height,
        "created_at": _time(job.created_at),
        "updated_at": _time(job.updated_at),
        "started_at": _time(job.started_at),
        "ended_at": _time(job.ended_at),
        "run": job.run,
        "version": job.version,
        "error_code": job.error_code,
        "error": job.error,
        "issues": [
            {"code": issue.code, "stage": issue.stage, "segment": issue.segment, "detail": issue.detail}
            for issue in issues
        ],
        "stages": [_stage_row(name, stages[name]) for name in GRAPH],
        "outputs_summary": sorted({kind for kind, _ in _shown(job)}),
    } | ({} if submitted.keeping.everything else {"keeping": submitted.keeping.model_dump()})


def outputs_row(job: Job) -> dict[str, Any] | None:
    """Return the members of a job's row in `job_outputs`, ready for JSON: those of `OutputsView`; None if it has none.

    `updated_at` is when the last of them was made, so that the row depends on nothing but what was made.
    """
    found = [_output_row(kind, artifact) for kind, artifact in _shown(job)]
    if not found:
        return None
    found.sort(key=lambda output: (output["kind"], output["path"]))
    made = [stage.ended_at for stage in job.stages.values() if stage.status is StageStatus.DONE and stage.ended_at]
    at = _time(max(made) if made else job.ended_at or job.created_at)
    return {"job_id": job.id, "base_dir": job.submitted.base_dir, "updated_at": at, "outputs": found}


def made_by(job: Job | None) -> list[Any]:
    """Return what `outputs_row` depends on: while this is equal, the row is."""
    if job is None:
        return []
    done = [(s.ended_at, s.outputs) for s in job.stages.values() if s.status is StageStatus.DONE]
    return [(job.ended_at, job.imported), *done] if job.imported else list(done)


def encode(row: dict[str, Any]) -> bytes:
    """Return the JSON text of a row. Equal rows give equal bytes (E5)."""
    try:
        return orjson.dumps(row)
    except TypeError:  # an integer of more than 64 bits, which JSON and so an event may hold
        return to_json(row, inf_nan_mode="null")


def _shown(job: Job) -> list[tuple[Kind, Artifact]]:
    """Return the artifacts that are outputs, each path once, of the last stage that made it."""
    base = f"{job.submitted.base_dir}/"
    found: dict[str, tuple[Kind, Artifact]] = {}
    for made in [job.imported or (), *(s.outputs for s in job.stages.values() if s.status is StageStatus.DONE)]:
        for artifact in made:
            kind = kind_of(artifact.path.removeprefix(base)) if artifact.path.startswith(base) else None
            if kind:
                found[artifact.path] = kind, artifact
    return list(found.values())


def _output_row(kind: Kind, artifact: Artifact) -> dict[str, Any]:
    name = posixpath.basename(artifact.path)
    parts = name.split(".")
    return {
        "kind": kind,
        "name": name,
        "path": artifact.path,
        "url": FILES_URL + quote(artifact.path),
        "size_bytes": artifact.size,
        "sha256": artifact.sha256,
        "lang": parts[-2] if kind == "subs" and len(parts) > 2 else None,  # <stem>.<lang>.<srt or vtt>
    }


def _stage_row(name: Stage, stage: StageState) -> dict[str, Any]:
    if stage.seq == 0 and stage.status is StageStatus.PENDING:  # nothing has happened to it yet
        return _UNTOUCHED[name]
    engine, timings = stage.engine, stage.timings
    return {
        "stage": name,
        "status": stage.status.value,
        "attempt": stage.attempt,
        "started_at": _time(stage.started_at),
        "ended_at": _time(stage.ended_at),
        "duration_s": _seconds(stage.started_at, stage.ended_at),
        "load_s": timings.load_s if timings else None,
        "engine_s": timings.engine_s if timings else None,
        "total_s": timings.total_s if timings else None,
        "engine": engine.name if engine else None,
        "engine_version": engine.version if engine else None,
        "device": engine.device if engine else None,
        "worker": stage.worker,
        "reused_from": stage.reused_from,
        "facts": dict(_sorted(stage.facts)),
        "error_code": stage.error_code,
        "error": stage.error,
    }


_UNTOUCHED: dict[Stage, dict[str, Any]] = {
    name: dict.fromkeys(StageView.model_fields)
    | {"stage": name, "status": StageStatus.PENDING.value, "attempt": 0, "facts": {}}
    for name in GRAPH
}


def _sorted(members: dict[str, T]) -> list[tuple[str, T]]:
    return sorted(members.items(), key=itemgetter(0))


def _time(moment: datetime | None) -> str | None:
    """Return a time as every event prints it (`shared.events.envelope.Timestamp`)."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return round((end - start).total_seconds(), 3) if start and end else None
