"""The scheduler's Prometheus metrics: counted from the live events of the log, and read from its state.

Lives here: names, buckets, and which event counts for what. Does not live here: the state (the caller hands in a
`Gauges` at each scrape) and HTTP (`shared.metrics`). docs/observability.md explains every name.
Counters count live events only, so that a restart begins at zero, as Prometheus expects, instead of jumping to all
that ever happened. A standby folds the same log and counts the same.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import Counter, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from shared.events.names import Pool, Stage
from shared.events.policy import JobDegraded, JobDelayed, JobRestored
from shared.events.runtime import SchedulerTookOver
from shared.events.types import (
    Event,
    JobCanceled,
    JobCompleted,
    JobFailed,
    JobRequeued,
    JobStarted,
    JobSubmitted,
    StageClaimed,
    StageCompleted,
    StageFailed,
    StageReleased,
)
from shared.job.model import Job, JobState
from shared.metrics import Registry

STAGE_BUCKETS = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600)
"""The predecessor's range: from a reused stage to an hour of speech on a slow machine."""
JOB_BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600)

WHISPER = "whisper"
PIPELINE_STAGES: tuple[Stage, ...] = ("transcribe", "tts", "mux")
"""The stages that the predecessor measured by name."""

_FINISHED: dict[type[Event], JobState] = {
    JobCompleted: JobState.DONE,
    JobFailed: JobState.FAILED,
    JobCanceled: JobState.CANCELED,
}


@dataclass(frozen=True)
class CapUse:
    """How much of one cap is taken; `limit` 0 means that there is none."""

    used: int
    limit: int


@dataclass(frozen=True)
class Gauges:
    """The scheduler's state at one moment."""

    active: bool
    """Whether this process is the one that schedules."""
    queued: int
    running: int
    oldest_queued_s: float
    """Age of the job that has waited longest; 0 with an empty queue."""
    caps: Mapping[str, CapUse]
    """Of the whole system, by cap (`global`, `transcribe`, `tts`, `high` ...). Never per user."""
    workers: Mapping[tuple[Pool, str], int]
    """Workers that beat lately, by pool and device."""
    open_breakers: Collection[str]
    """Names of the engines that are avoided now."""
    dead_letters: int
    """Failed jobs with a stage that took its workers down: they wait for an operator."""
    quarantined: int
    """Events that did not decode or apply since this process started (E7)."""
    log_head: int
    """Sequence of the last event that was folded."""
    disk_free_bytes: int | None
    """Under the output; None where the scheduler does not see that disk."""


class _StateCollector(Collector):
    def __init__(self, read: Callable[[], Gauges]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        now = self._read()
        yield _gauge("dub_scheduler_active", "1 in the scheduler that decides, 0 in a standby.", now.active)
        yield _gauge("dub_scheduler_queue_length", "Jobs that wait for a slot.", now.queued)
        yield _gauge("dub_scheduler_running_jobs", "Jobs that hold a slot.", now.running)
        yield _gauge("dub_scheduler_oldest_queued_seconds", "Age of the longest waiting job.", now.oldest_queued_s)
        yield _gauge("dub_scheduler_dead_letters", "Failed jobs whose stage took workers down.", now.dead_letters)
        yield _gauge("dub_scheduler_quarantined_events", "Events that did not decode or apply.", now.quarantined)
        yield _gauge("dub_scheduler_log_sequence", "Last sequence that was folded.", now.log_head)
        if now.disk_free_bytes is not None:
            yield _gauge("dub_scheduler_disk_free_bytes", "Free space under the output.", now.disk_free_bytes)
        used = GaugeMetricFamily("dub_scheduler_cap_used", "Slots that are taken.", labels=["cap"])
        limit = GaugeMetricFamily("dub_scheduler_cap_limit", "Slots that there are; 0: no limit.", labels=["cap"])
        for cap, use in now.caps.items():
            used.add_metric([cap], use.used)
            limit.add_metric([cap], use.limit)
        yield from (used, limit)
        workers = GaugeMetricFamily("dub_scheduler_workers_alive", "Workers that beat.", labels=["pool", "device"])
        for (pool, device), count in now.workers.items():
            workers.add_metric([pool, device], count)
        yield workers
        yield _gauge("dub_scheduler_breakers_open", "Engines that are avoided now.", len(now.open_breakers))
        breakers = GaugeMetricFamily(
            "dub_scheduler_breaker_open", "1 for an engine that is avoided.", labels=["engine"]
        )
        for engine in now.open_breakers:
            breakers.add_metric([engine], 1)
        yield breakers


class SchedulerMetrics:
    """All metrics of one scheduler process, in a registry of their own."""

    def __init__(self, read: Callable[[], Gauges]) -> None:
        self.registry = Registry()
        self.registry.register(_StateCollector(read))
        self._claimed: set[tuple[str, Stage, int]] = set()
        made = self.registry
        self._started = Counter("pipeline_job", "Jobs that were started.", registry=made)
        self._failed = Counter("pipeline_job_failed", "Jobs that failed.", registry=made)
        self._degraded = Counter("pipeline_job_degraded", "Times that a job's mode was lowered.", registry=made)
        self._pipeline = {
            stage: Histogram(
                f"pipeline_{stage}_seconds", f"Wall time of {stage}.", buckets=STAGE_BUCKETS, registry=made
            )
            for stage in PIPELINE_STAGES
        }
        self._queued = Counter("dub_jobs_queued", "Jobs that were submitted or queued again.", registry=made)
        self._finished = Counter("dub_jobs_finished", "Jobs that ended.", ["state"], registry=made)
        self._errors = Counter("dub_job_errors", "Attempts of a stage that failed.", ["stage"], registry=made)
        self._codes = Counter("dub_stage_failures", "Attempts that failed, by code.", ["code"], registry=made)
        self._tts = Histogram("dub_tts_seconds", "Synthesis without loading.", buckets=STAGE_BUCKETS, registry=made)
        self._whisper = Histogram(
            "dub_whisper_seconds", "Recognition by Whisper without loading.", buckets=STAGE_BUCKETS, registry=made
        )
        self._stages = Histogram(
            "dub_stage_seconds", "Wall time of a stage.", ["stage", "device"], buckets=JOB_BUCKETS, registry=made
        )
        self._reused = Counter("dub_stages_reused", "Stages that an earlier result spared.", ["stage"], registry=made)
        self._wait = Histogram(
            "dub_job_queue_wait_seconds", "From queued to started.", buckets=JOB_BUCKETS, registry=made
        )
        self._run = Histogram("dub_job_run_seconds", "From started to done.", buckets=JOB_BUCKETS, registry=made)
        self._delayed = Counter("dub_jobs_delayed", "Times that a job was held back.", registry=made)
        self._restored = Counter("dub_jobs_restored", "Jobs that got their mode back.", registry=made)
        self._lost = Counter("dub_lease_takeovers", "Stages taken over from a silent worker.", registry=made)
        self._releases = Counter("dub_stages_released", "Stages handed back unfinished.", registry=made)
        self._leaders = Counter("dub_scheduler_takeovers", "Times that a scheduler became active.", registry=made)

    def observe(self, event: Event, job: Job | None) -> None:
        """Count one live event; `job` is its job after the event, None for what belongs to no job."""
        match event:
            case JobSubmitted() | JobRequeued():
                self._queued.inc()
            case JobStarted():
                self._started.inc()
                if job is not None:
                    self._wait.observe(max(0.0, (event.time - job.queued_at).total_seconds()))
            case JobCompleted() | JobFailed() | JobCanceled():
                self._ended(event, job)
            case JobDegraded():
                self._degraded.inc()
            case JobRestored():
                self._restored.inc()
            case JobDelayed():
                self._delayed.inc()
            case StageClaimed() | StageCompleted() | StageFailed() | StageReleased():
                self._stage(event)
            case SchedulerTookOver():
                self._leaders.inc()
            case _:
                pass

    def _ended(self, event: JobCompleted | JobFailed | JobCanceled, job: Job | None) -> None:
        self._finished.labels(_FINISHED[type(event)].value).inc()
        if isinstance(event, JobFailed):
            self._failed.inc()
        if isinstance(event, JobCompleted) and job is not None and job.started_at is not None:
            self._run.observe(max(0.0, (event.time - job.started_at).total_seconds()))

    def _stage(self, event: StageClaimed | StageCompleted | StageFailed | StageReleased) -> None:
        held = (event.subject, event.data.stage, event.data.part)
        if isinstance(event, StageClaimed):
            if held in self._claimed:
                self._lost.inc()
            self._claimed.add(held)
            return
        self._claimed.discard(held)
        match event:
            case StageCompleted():
                self._completed(event)
            case StageFailed():
                self._errors.labels(event.data.stage).inc()
                self._codes.labels(event.data.code).inc()
            case StageReleased():
                self._releases.inc()

    def _completed(self, event: StageCompleted) -> None:
        data = event.data
        if data.reused_from is not None:
            self._reused.labels(data.stage).inc()
            return
        self._stages.labels(data.stage, data.engine.device).observe(data.timings.total_s)
        if data.stage in self._pipeline:
            self._pipeline[data.stage].observe(data.timings.total_s)
        if data.stage == "tts":
            self._tts.observe(data.timings.engine_s)
        elif data.engine.name == WHISPER:
            self._whisper.observe(data.timings.engine_s)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=float(value))
