"""What operators are told about the running system, and what the scheduler is asked before a job is accepted.

Lives here: the answers of `GET /api/runtime/state` and `GET /api/runtime/models`, the admission messages, and the names
of the caps. The scheduler fills them; the command line and the pages read them. No title: an operator need not
read what others dub.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.events.envelope import Timestamp, Value
from shared.events.names import Device, Mode, Pool, Stage
from shared.events.types import Setting

CAP_NAMES = (
    "MAX_CONCURRENCY_GLOBAL", "MAX_CONCURRENCY_TRANSCRIBE", "MAX_CONCURRENCY_TTS",
    "MAX_JOBS_HIGH", "MAX_JOBS_MEDIUM", "MAX_JOBS_LOW",
    "MAX_CONCURRENT", "DAILY_PROCESSING_MINUTES", "MAX_QUEUED_PER_USER", "JOBS_PER_DAY_PER_USER",
    "MAX_STORAGE_BYTES_PER_USER", "BACKPRESSURE_Q_MAX", "MIN_FREE_GB",
)  # fmt: skip
"""Caps that an operator may change while the system runs (`LimitsChanged`), by their environment names."""


class Told(BaseModel):
    """A newer service may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Summary(Told):
    """The four values that the predecessor told."""

    queue_len: int = 0
    active_global: int = 0
    limits: dict[str, int | float] = Field(default_factory=dict)
    active_phase: dict[str, Stage | None] = Field(default_factory=dict)
    """Running job -> the stage that a worker has now."""


class Cap(Told):
    """A cap and how much of it is used; `limit` 0 is no limit."""

    name: str
    used: float
    limit: float
    overridden: bool = False


class QueuedJob(Told):
    """A job that waits, at its place in the order in which jobs start; `reason_code` is for programs.

    `expected_*`: with the interval that the estimates leave; None where nothing is known to estimate from.
    """

    job_id: str
    owner: str
    position: int
    priority: int
    mode: Mode
    requested_mode: Mode
    degraded: list[str] = Field(default_factory=list)
    state: Literal["QUEUED", "PAUSED"] = "QUEUED"
    reason: str
    reason_code: str
    queued_at: Timestamp
    expected_start: Timestamp | None = None
    expected_start_low: Timestamp | None = None
    expected_start_high: Timestamp | None = None
    expected_end: Timestamp | None = None
    expected_end_low: Timestamp | None = None
    expected_end_high: Timestamp | None = None


class RunningJob(Told):
    """A job that has a slot; `stage_status` says whether a worker has the stage or it waits for one."""

    job_id: str
    owner: str
    mode: Mode
    stage: Stage | None = None
    stage_status: str = ""
    attempt: int = 0
    worker: str | None = None
    since: Timestamp | None = None
    reason: str = ""
    """Why no worker has its next stage, if none has."""
    pause_requested: bool = False
    expected_end: Timestamp | None = None
    expected_end_low: Timestamp | None = None
    expected_end_high: Timestamp | None = None


class WorkerState(Told):
    """A worker by its last heartbeat; not `alive` after three intervals without one."""

    worker: str
    host: str
    pool: Pool
    device: str
    job_id: str | None = None
    stage: Stage | None = None
    heartbeat_age_s: float
    alive: bool
    draining: bool = False
    loaded_engines: list[str] = Field(default_factory=list)
    engines: list[str] = Field(default_factory=list)
    models: list[str] = Field(default_factory=list)


class Degradation(Told):
    """A recent change of a waiting job's mode, or its delay, by backpressure."""

    job_id: str
    at: Timestamp
    kind: Literal["degraded", "restored", "delayed"]
    from_mode: Mode | None = None
    to_mode: Mode | None = None
    until: Timestamp | None = None
    reason: str


class Breaker(Told):
    """The circuit breaker of one engine."""

    engine: str
    state: Literal["closed", "open", "trial"]
    failures: int
    until: Timestamp | None = None


class DeadLetter(Told):
    """A command that no worker could bring to an end; its job can be re-run."""

    job_id: str
    stage: Stage
    message: str
    at: Timestamp


class ConsumerLag(Told):
    """A worker pool's queue: commands that nobody took yet, and taken ones that are not acknowledged."""

    consumer: str
    pending: int
    outstanding: int


class Disk(Told):
    """The output volume; below the floor, jobs wait."""

    free_gb: float
    floor_gb: float


class OwnerUse(Told):
    """What one user uses of the per-user caps; a limit of 0 is none."""

    owner: str
    running: int
    queued: int
    minutes_today: float
    minutes_limit: float
    jobs_today: int


class RuntimeState(Told):
    """`GET /api/runtime/state`. `queue` is cut to the `limit` of the request, `queue_total` is not."""

    ok: bool = True
    head: int
    """Sequence of the last event that this state is made of."""
    leader: bool
    holder: str | None = None
    epoch: int = 0
    draining: bool = False
    state: Summary = Summary()
    caps: list[Cap] = Field(default_factory=list)
    queue: list[QueuedJob] = Field(default_factory=list)
    queue_total: int = 0
    running: list[RunningJob] = Field(default_factory=list)
    workers: list[WorkerState] = Field(default_factory=list)
    degradations: list[Degradation] = Field(default_factory=list)
    breakers: list[Breaker] = Field(default_factory=list)
    dead_letters: list[DeadLetter] = Field(default_factory=list)
    consumers: list[ConsumerLag] = Field(default_factory=list)
    disk: Disk | None = None
    quarantined_events: int = 0
    over_users: list[OwnerUse] = Field(default_factory=list)


class ModelState(Told):
    """Which workers have a model's weights, and which have it in memory."""

    id: str
    present_on: list[str] = Field(default_factory=list)
    loaded_on: list[str] = Field(default_factory=list)


class PrewarmStep(Told):
    """The last that one worker told of one model of a prewarm task."""

    worker: str
    model: str
    state: Literal["started", "ready", "failed"]
    detail: str = ""
    at: Timestamp


class PrewarmTask(Told):
    """One `POST /api/runtime/models/prewarm`: `finished` when every worker that began has ended."""

    task: str
    preset: Mode
    requested_at: Timestamp
    state: Literal["requested", "running", "finished", "failed"]
    steps: list[PrewarmStep] = Field(default_factory=list)


class RuntimeModels(Told):
    """`GET /api/runtime/models`."""

    disk: Disk | None = None
    models: list[ModelState] = Field(default_factory=list)
    prewarm: list[PrewarmTask] = Field(default_factory=list)


class AdmitRequest(Told):
    """Ingest asks before it accepts a job, or an upload: may this owner have it now?"""

    owner: str
    job_id: str
    bytes: int
    duration_s: float
    promised: int = 0
    """Bytes of the owner's open uploads besides this one: room for them is promised, so it is taken."""
    upload: bool = False
    """It is no job yet (`job_id` is the upload's): only its bytes are judged. Ingest keeps its room for it."""


class AdmitAnswer(Told):
    """`code` names the cap that refuses (lower case); `remaining` is what is left of it, `reset_seconds` until when."""

    admitted: bool
    code: str = ""
    limit: float = 0
    remaining: float = 0
    reset_seconds: int | None = None
    detail: str = ""


class EstimateRequest(Told):
    """Ingest asks what a job would take, if this owner submitted it now; nothing is reserved."""

    owner: str
    bytes: int
    duration_s: float
    mode: Mode = "medium"
    device: Device = "auto"
    priority: int = 100
    degrade: bool = True
    overrides: dict[str, Value] = Field(default_factory=dict)
    imported: list[Stage] = Field(default_factory=list)
    """Stages that the submission brings the results of."""
    promised: int = 0
    """As in `AdmitRequest`."""


class SecondsRange(Told):
    """Expected seconds, and the interval that should hold 80% of the time."""

    low: float
    expected: float
    high: float


class StageSeconds(Told):
    """One stage that would run; `samples` finished ones like it stand behind its seconds."""

    stage: Stage
    seconds: SecondsRange
    samples: int


class QuotaLeft(Told):
    """What an owner may still do; None is no limit. The counters of the day begin again in `reset_seconds`."""

    jobs_today: int | None = None
    minutes_today: float | None = None
    queued: int | None = None
    stored_bytes: int | None = None
    running: int | None = None
    reset_seconds: int = 0


class EstimateAnswer(Told):
    """`waiting` until it starts, `work` from then on, and `total`; None while no job starts at all."""

    admission: AdmitAnswer
    left: QuotaLeft
    """Before the job."""
    mode: Mode
    """The one that it would run in: a long queue may lower what was asked for."""
    ahead: int = 0
    """Queued jobs that would start before it."""
    waiting: SecondsRange | None = None
    work: SecondsRange
    total: SecondsRange | None = None
    stages: list[StageSeconds] = Field(default_factory=list)
    settings: dict[str, Setting] = Field(default_factory=dict)
    """What the workers would run, each with the reason for its value."""
    free_bytes: int | None = None
    floor_bytes: int = 0
    """Jobs wait while less is free than this."""
