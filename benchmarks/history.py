"""Events as a real installation would have them, for benchmarks that fill a log.

Lives here: submissions, and whole finished jobs with the sizes that real ones have. Does not live here: storing them.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from shared.artifacts import Artifact
from shared.events.names import Mode
from shared.events.runtime import SlotGranted, SlotGrantedData
from shared.events.types import (
    AudioTrack,
    EngineUsed,
    Event,
    JobCanceled,
    JobCanceledData,
    JobCompleted,
    JobCompletedData,
    JobStarted,
    JobStartedData,
    JobSubmitted,
    JobSubmittedData,
    Setting,
    SourceMedia,
    StageClaimed,
    StageClaimedData,
    StageCompleted,
    StageCompletedData,
    Timings,
    VideoTrack,
)
from shared.identity import uuid7
from shared.job.stages import GRAPH, POOL

SOURCE = "urn:dubline:bench"
ACTOR = "bench"
DIGEST = "0" * 64
CAPPED = ("transcribe", "tts")
"""Stages whose every command costs a grant under the default caps."""
ENGINE = EngineUsed(name="none", version="1", device="cpu", digest=DIGEST)


def submitted(owner: str, title: str = "none.mp4", mode: Mode = "medium") -> JobSubmitted:
    """Return the submission of a new job of one second of video; it keeps its mode under backpressure."""
    source = SourceMedia(
        path="uploads/none.mp4",
        sha256=DIGEST,
        size=1,
        container="mov",
        duration_s=1.0,
        video=VideoTrack(index=0, codec="h264", width=640, height=360, frame_rate="25/1"),
        audio=AudioTrack(index=1, codec="aac", channels=2, layout="stereo", sample_rate=48000),
    )
    data = JobSubmittedData(
        owner=owner,
        title=title,
        stem="none",
        base_dir="none",
        source=source,
        src_lang="en",
        tgt_lang="pt",
        mode=mode,
        degrade=False,
    )
    job_id = uuid7()
    return JobSubmitted(
        source=SOURCE, subject=job_id, time=datetime.now(UTC), actor=ACTOR, correlationid=job_id, data=data
    )


def started(job: JobSubmitted) -> JobStarted:
    """Return the start of a job."""
    settings = {f"setting_{n}": Setting(value="value", reason="mode:medium") for n in range(8)}
    return JobStarted(**_envelope(job.subject), data=JobStartedData(mode=job.data.mode, settings=settings))


def canceled(job: JobSubmitted) -> JobCanceled:
    """Return the cancellation of a job."""
    return JobCanceled(**_envelope(job.subject), data=JobCanceledData())


def finished(owner: str, epoch: int) -> Iterator[Event]:
    """Yield all that the log has of a new job that went through without a fault: 18 events."""
    job = submitted(owner)
    yield job
    yield _granted(job.subject, None, epoch)
    yield started(job)
    for stage in GRAPH:
        identity = {"stage": stage, "attempt": 1}
        if stage in CAPPED:
            yield _granted(job.subject, stage, epoch)
        claimed = StageClaimedData(**identity, worker="worker-1", host="bench", pool=POOL[stage])
        yield StageClaimed(**_envelope(job.subject), data=claimed)
        outputs = [Artifact(name=f"{stage}{n}", path=f"none/work/{stage}{n}", size=1, sha256=DIGEST) for n in range(2)]
        completed = StageCompletedData(
            **identity, key=DIGEST, outputs=outputs, engine=ENGINE, timings=Timings(total_s=1.0), facts={"lines": 9}
        )
        yield StageCompleted(**_envelope(job.subject), data=completed)
    yield JobCompleted(**_envelope(job.subject), data=JobCompletedData())


def _granted(job_id: str, stage: str | None, epoch: int) -> SlotGranted:
    data = SlotGrantedData.model_validate({"job_id": job_id, "run": 1, "stage": stage, "epoch": epoch})
    return SlotGranted(**_envelope("scheduler"), data=data)


def _envelope(subject: str) -> dict[str, object]:
    return {
        "source": SOURCE,
        "subject": subject,
        "time": datetime.now(UTC),
        "actor": ACTOR,
        "correlationid": subject,
    }
