"""Every event type of the log, as one discriminated union.

Lives here: what happened, versioned by the `.vN` of its type. A change that is not additive needs a new
version; the golden schemas in `docs/schemas` make a test fail otherwise. No event carries transcript text (E8).
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from shared.artifacts import Artifact
from shared.events.access import (
    AccessEvent,
    AuditRecorded,
    UploadCompleted,
    UploadCreated,
    UploadRemoved,
    UserSettingsSaved,
)
from shared.events.envelope import Data, Envelope, Timestamp, Value
from shared.events.library import (
    CurationEvent,
    JobArchived,
    JobDeleted,
    JobTagged,
    JobUnarchived,
    JobVisibilityChanged,
    PresetDeleted,
    PresetSaved,
    ProjectDeleted,
    ProjectSaved,
    SettingsEvent,
    Visibility,
    WebhookDeleted,
    WebhookSaved,
    WebhookSendRequested,
)
from shared.events.names import Device, Mode, Pool, Stage
from shared.events.policy import JobDegraded, JobDelayed, JobReprioritized, JobRestored, PolicyEvent
from shared.events.runtime import (
    LimitsChanged,
    PrewarmProgressed,
    PrewarmRequested,
    RuntimeEvent,
    SchedulerEvent,
    SchedulerTookOver,
    SlotGranted,
)
from shared.keeping import KEEP_ALL, Keeping


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
    sealed: str | None = None
    """The upload whose key it is encrypted with at rest; `sha256` and `size` are of the plain bytes."""


class Setting(Data):
    """One effective setting of a job; `reason` says where the value comes from.

    Reasons: `mode:<mode>`, `override`, or `fallback:<what is missing>` (`shared.job.modes`).
    """

    value: Value
    reason: str


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


class ImportedStage(Data):
    """A stage that is never run, because the submission brought what it would have made."""

    outputs: list[Artifact]
    facts: dict[str, Value] = Field(default_factory=dict)


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
    degrade: bool = True
    """False: the job keeps its mode under backpressure, and waits longer instead."""
    overrides: dict[str, Value] = Field(default_factory=dict)
    """Effective settings that the user chose, by name (`shared.job.modes.TABLE`)."""
    body_fingerprint: str | None = None
    project_id: str | None = None
    project_name: str | None = None
    """The project's name and directory never change, so the job carries the name for good."""
    preset_id: str | None = None
    tags: list[str] = Field(default_factory=list)
    visibility: Visibility = "private"
    upload_id: str | None = None
    """The upload that its source was, where that was an upload of its own."""
    imports: dict[Stage, ImportedStage] = Field(default_factory=dict)
    """Stages that are done from the start: their artifacts lie in the job's own work directory."""
    keeping: Keeping = KEEP_ALL
    """What of the job's files outlives it; of a private one, `title` and `stem` do not tell the video's name."""


class JobSubmitted(Envelope):
    type: Literal["dubline.job.submitted.v1"] = "dubline.job.submitted.v1"
    data: JobSubmittedData


class JobImportedData(Data):
    """A finished job of the predecessor. What `submitted` cannot know is empty or 0: its source most of all."""

    submitted: JobSubmittedData
    state: Literal["DONE", "FAILED", "CANCELED"]
    created_at: Timestamp
    updated_at: Timestamp
    error: str | None = None
    outputs: list[Artifact] = Field(default_factory=list)
    archived: bool = False


class JobImported(Envelope):
    """A job comes into the log finished. It can be shown, tagged and deleted, but not run again."""

    type: Literal["dubline.job.imported.v1"] = "dubline.job.imported.v1"
    data: JobImportedData


class JobStartedData(Data):
    """`settings` is what the workers run, exactly; `mode` may be lower than the one asked for (backpressure)."""

    run: int = 1
    mode: Mode | None = None
    settings: dict[str, Setting] = Field(default_factory=dict)


class JobStarted(Envelope):
    """The scheduler gave the job a slot: QUEUED -> RUNNING."""

    type: Literal["dubline.job.started.v1"] = "dubline.job.started.v1"
    data: JobStartedData


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


class JobPauseRequested(Envelope):
    """A running job shall pause at the next stage boundary; the scheduler then appends `paused`."""

    type: Literal["dubline.job.pause_requested.v1"] = "dubline.job.pause_requested.v1"
    data: JobReasonData


class JobPaused(Envelope):
    type: Literal["dubline.job.paused.v1"] = "dubline.job.paused.v1"
    data: JobReasonData


class JobResumed(Envelope):
    """A paused job queues again; a running one that was asked to pause goes on."""

    type: Literal["dubline.job.resumed.v1"] = "dubline.job.resumed.v1"
    data: JobReasonData


class JobCanceledData(Data):
    """`kill`: the running stage's process is killed at once instead of being asked to end within 2 s."""

    reason: str = ""
    kill: bool = False


class JobCanceled(Envelope):
    type: Literal["dubline.job.canceled.v1"] = "dubline.job.canceled.v1"
    data: JobCanceledData


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
    engine: str | None = None
    """Name of the engine that failed, where it was one: what the circuit breakers count."""


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


LifecycleEvent = (
    JobSubmitted | JobImported | JobStarted | JobCompleted | JobFailed | JobPauseRequested | JobPaused | JobResumed
    | JobCanceled | JobRequeued
)  # fmt: skip
JobEvent = LifecycleEvent | PolicyEvent | CurationEvent
StageEvent = StageClaimed | StageCompleted | StageFailed | StageReleased
Event = JobEvent | StageEvent | SchedulerEvent | RuntimeEvent | SettingsEvent | AccessEvent
AnyEvent = Annotated[Event, Field(discriminator="type")]
EVENT_TYPES: tuple[type[Envelope], ...] = (
    JobSubmitted, JobImported, JobStarted, JobCompleted, JobFailed, JobPauseRequested, JobPaused, JobResumed,
    JobCanceled, JobRequeued, JobDegraded, JobRestored, JobDelayed, JobReprioritized,
    StageClaimed, StageCompleted, StageFailed, StageReleased,
    JobTagged, JobArchived, JobUnarchived, JobVisibilityChanged, JobDeleted,
    ProjectSaved, ProjectDeleted, PresetSaved, PresetDeleted, WebhookSaved, WebhookDeleted,
    WebhookSendRequested,
    SchedulerTookOver, SlotGranted, LimitsChanged, PrewarmRequested, PrewarmProgressed,
    AuditRecorded, UploadCreated, UploadCompleted, UploadRemoved, UserSettingsSaved,
)  # fmt: skip

_ADAPTER: TypeAdapter[Event] = TypeAdapter(AnyEvent)


def decode(raw: bytes) -> Event:
    """Return the event in these bytes. Raises pydantic.ValidationError (the caller quarantines, E7)."""
    return _ADAPTER.validate_json(raw)
