"""Every event type of the log, as one discriminated union.

Lives here: what happened, versioned by the `.vN` of its type. A change that is not additive needs a new
version; the golden schemas in `docs/schemas` make a test fail otherwise. No event carries transcript text (E8).
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from shared.artifacts import Artifact
from shared.events.envelope import Data, Envelope

Stage = Literal["audio", "transcribe", "translate", "tts", "mix", "mux"]
Pool = Literal["cpu", "gpu"]
Mode = Literal["high", "medium", "low"]
Device = Literal["auto", "cuda", "cpu"]


class AudioTrack(Data):
    """An audio stream of the source; `index` is ffmpeg's absolute stream index."""

    index: int
    codec: str
    channels: int
    layout: str
    sample_rate: int
    language: str | None = None


class VideoTrack(Data):
    """The picture of the source; frame rate as the exact fraction that the container states."""

    index: int
    codec: str
    width: int
    height: int
    frame_rate: str


class SourceMedia(Data):
    """A checked source file; `path` is relative to the input root, never a user's file name."""

    path: str
    sha256: str
    size: int
    container: str
    duration_s: float
    video: VideoTrack
    audio: AudioTrack


class Issue(Data):
    """Something a person should look at; `segment` is the index of the line, if it concerns one."""

    code: str
    stage: Stage
    segment: int | None = None
    detail: str = ""


class EngineUsed(Data):
    """Which engine really ran, on which device, with which weights (`digest` covers all of them)."""

    name: str
    version: str
    device: str
    digest: str


class Timings(Data):
    """Seconds, on the worker's monotonic clock: waiting for a child, loading engines, and the stage's own work."""

    load_s: float = 0.0
    engine_s: float = 0.0
    total_s: float = 0.0


class JobSubmittedData(Data):
    owner: str
    title: str
    stem: str
    base_dir: str
    source: SourceMedia
    src_lang: str
    tgt_lang: str
    mode: Mode = "medium"
    device: Device = "auto"
    priority: int = 100
    body_fingerprint: str | None = None


class JobSubmitted(Envelope):
    type: Literal["dubline.job.submitted.v1"] = "dubline.job.submitted.v1"
    data: JobSubmittedData


class JobRunData(Data):
    run: int = 1


class JobStarted(Envelope):
    """The scheduler gave the job a slot: QUEUED -> RUNNING."""

    type: Literal["dubline.job.started.v1"] = "dubline.job.started.v1"
    data: JobRunData


class JobCompletedData(Data):
    run: int = 1
    issues: list[Issue] = Field(default_factory=list)


class JobCompleted(Envelope):
    type: Literal["dubline.job.completed.v1"] = "dubline.job.completed.v1"
    data: JobCompletedData


class JobFailedData(Data):
    run: int = 1
    stage: Stage | None = None
    code: str
    message: str


class JobFailed(Envelope):
    type: Literal["dubline.job.failed.v1"] = "dubline.job.failed.v1"
    data: JobFailedData


class JobReasonData(Data):
    reason: str = ""


class JobPaused(Envelope):
    type: Literal["dubline.job.paused.v1"] = "dubline.job.paused.v1"
    data: JobReasonData


class JobResumed(Envelope):
    type: Literal["dubline.job.resumed.v1"] = "dubline.job.resumed.v1"
    data: JobReasonData


class JobCanceled(Envelope):
    type: Literal["dubline.job.canceled.v1"] = "dubline.job.canceled.v1"
    data: JobReasonData


class JobRequeuedData(Data):
    run: int
    reason: str = ""


class JobRequeued(Envelope):
    """An explicit re-run of a finished job, or a running job handed back: -> QUEUED, with its run number."""

    type: Literal["dubline.job.requeued.v1"] = "dubline.job.requeued.v1"
    data: JobRequeuedData


class StageClaimedData(Data):
    stage: Stage
    part: int = 0
    attempt: int
    worker: str
    host: str
    pool: Pool


class StageClaimed(Envelope):
    """A worker owns the stage; this event's sequence is the fence of its outcome (E4)."""

    type: Literal["dubline.stage.claimed.v1"] = "dubline.stage.claimed.v1"
    data: StageClaimedData


class StageCompletedData(Data):
    stage: Stage
    part: int = 0
    attempt: int
    key: str
    outputs: list[Artifact]
    engine: EngineUsed
    timings: Timings
    issues: list[Issue] = Field(default_factory=list)
    facts: dict[str, str | int | float | bool] = Field(default_factory=dict)
    reused_from: str | None = None


class StageCompleted(Envelope):
    type: Literal["dubline.stage.completed.v1"] = "dubline.stage.completed.v1"
    data: StageCompletedData


class StageFailedData(Data):
    stage: Stage
    part: int = 0
    attempt: int
    code: str
    message: str
    retryable: bool


class StageFailed(Envelope):
    type: Literal["dubline.stage.failed.v1"] = "dubline.stage.failed.v1"
    data: StageFailedData


class StageReleasedData(Data):
    stage: Stage
    part: int = 0
    attempt: int
    reason: str


class StageReleased(Envelope):
    """A worker that is shutting down handed the stage back unfinished."""

    type: Literal["dubline.stage.released.v1"] = "dubline.stage.released.v1"
    data: StageReleasedData


JobEvent = JobSubmitted | JobStarted | JobCompleted | JobFailed | JobPaused | JobResumed | JobCanceled | JobRequeued
StageEvent = StageClaimed | StageCompleted | StageFailed | StageReleased
AnyEvent = Annotated[JobEvent | StageEvent, Field(discriminator="type")]
EVENT_TYPES: tuple[type[Envelope], ...] = (
    JobSubmitted, JobStarted, JobCompleted, JobFailed, JobPaused, JobResumed, JobCanceled, JobRequeued,
    StageClaimed, StageCompleted, StageFailed, StageReleased,
)  # fmt: skip

_ADAPTER: TypeAdapter[JobEvent | StageEvent] = TypeAdapter(AnyEvent)


def decode(raw: bytes) -> JobEvent | StageEvent:
    """Return the event in these bytes. Raises pydantic.ValidationError (the caller quarantines, E7)."""
    return _ADAPTER.validate_json(raw)
