"""Stories of jobs for the library's tests: events as a log would hold them, and delivering them to a projection."""

from pathlib import Path
from typing import Any

from services.library.committed import Committed
from services.library.job_manifest import build
from services.library.jobstore.dump import Row, dump
from services.library.jobstore.store import JobStore
from services.library.projection import Projection
from shared.artifacts import Artifact
from shared.eventlog.job_history import fold
from shared.eventlog.port import Recorded
from shared.events.library import WebhookSaved
from shared.events.runtime import LimitsChanged, PrewarmRequested, SchedulerTookOver, SlotGranted, SlotGrantedData
from shared.events.subjects import event_subject, job_of
from shared.events.types import Event, JobCompleted, JobStarted
from shared.job.stages import GRAPH
from shared.layout import Layout
from tests.factories import NOW, claimed, completed, context, event, submitted

JOB = "01890000-0000-7000-8000-000000000001"


def recorded(seq: int, what: Event) -> Recorded:
    return Recorded.of(seq, event_subject(what), what.encode())


def undecodable(seq: int, job_id: str = JOB) -> Recorded:
    return Recorded.of(seq, f"dub.evt.job.{job_id}.lifecycle", b'{"type": "dubline.job.exploded.v9"}')


def results(base: str = "film", stem: str = "film", job_id: str = JOB) -> list[Artifact]:
    """What mux publishes, with a work file that is nobody's business."""
    names = [f"{stem}.dub.mkv", f"{stem}.dub.mp4", f"subs/{stem}.pt.srt", f"subs/{stem}.en.vtt"]
    shown = [Artifact(name=n, path=f"{base}/{n}", size=10, sha256=f"{i:02}" * 32) for i, n in enumerate(names)]
    return [*shown, Artifact(name="w", path=f"{base}/work/{job_id}/picture.mp4", size=1, sha256="ff" * 32)]


def whole_story(job_id: str = JOB, **changes: Any) -> list[Event]:
    """A job from submission to its end."""
    story: list[Event] = [submitted(job_id, **changes), event(JobStarted, job_id, run=1)]
    for stage in GRAPH:
        learned: dict[str, Any] = {"facts": {"language": "en"}} if stage == "transcribe" else {}
        made: dict[str, Any] = {"outputs": results(job_id=job_id)} if stage == "mux" else {}
        story += [claimed(job_id, stage), completed(job_id, stage, **learned, **made)]
    return [*story, event(JobCompleted, job_id, run=1)]


def of_no_job() -> list[Event]:
    """What the scheduler and the operators write; one of them names a job without being about its state."""
    return [
        event(SchedulerTookOver, "scheduler", holder="s1"),
        SlotGranted(**context(JOB), data=SlotGrantedData(job_id=JOB, run=1, stage="tts", epoch=1)),
        event(LimitsChanged, "runtime", overrides={"MAX_CONCURRENCY_GLOBAL": 3}),
        event(PrewarmRequested, "runtime", task="t", preset="low"),
        event(WebhookSaved, "hook_1", owner="local", url="https://example.org", created_at=NOW),
    ]


def log_of(*stories: list[Event]) -> list[Recorded]:
    """One log of several jobs, one event of each in turn."""
    longest = max(map(len, stories))
    events = [story[step] for step in range(longest) for story in stories if step < len(story)]
    return [recorded(seq, what) for seq, what in enumerate(events, start=1)]


def project(log: list[Recorded], path: Path) -> list[Row]:
    """A clean replay: one batch into a new file; its content."""
    store = JobStore(path)
    Projection(store).apply(log)
    store.close()
    return dump(path)


def deliver(log: list[Recorded], batch: list[Recorded], projection: Projection) -> Committed:
    """What the projector does with a batch: fold what is not in memory from the log, then apply."""
    for job_id in projection.unfolded(batch):
        job = fold(r for r in log if job_of(r.subject) == job_id and r.seq <= projection.cursor.seq)
        if job is not None:
            projection.adopt(job)
    return projection.apply(batch)


def job_files(log: list[Recorded]) -> dict[str, bytes]:
    """The job.json of every job that the log has and has not deleted."""
    jobs = [fold(r for r in log if job_of(r.subject) == job_id) for job_id in {job_of(r.subject) for r in log}]
    return {job.id: build(job, Layout(Path("data"))).encode() for job in jobs if job is not None and not job.deleted}
