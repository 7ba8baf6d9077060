"""Stories of jobs for the library's tests: events as a log would hold them."""

from typing import Any

from shared.artifacts import Artifact
from shared.eventlog.port import Recorded
from shared.events.subjects import event_subject
from shared.events.types import Event, JobCompleted, JobStarted
from shared.job.stages import GRAPH
from tests.factories import claimed, completed, event, submitted

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


def log_of(*stories: list[Event]) -> list[Recorded]:
    """One log of several jobs, one event of each in turn."""
    longest = max(map(len, stories))
    events = [story[step] for step in range(longest) for story in stories if step < len(story)]
    return [recorded(seq, what) for seq, what in enumerate(events, start=1)]
