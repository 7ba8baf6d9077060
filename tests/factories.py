"""Valid events and commands for tests, with only what a test cares about spelled out."""

from datetime import UTC, datetime
from typing import Any

from shared.artifacts import Artifact
from shared.commands import StageCommand
from shared.events import types
from shared.events.names import Stage
from shared.events.types import (
    AudioTrack,
    EngineUsed,
    JobSubmitted,
    JobSubmittedData,
    SourceMedia,
    StageClaimed,
    StageClaimedData,
    StageCompleted,
    StageCompletedData,
    StageFailed,
    StageFailedData,
    Timings,
    VideoTrack,
)
from shared.identity import uuid7

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def context(job_id: str) -> dict[str, Any]:
    return {"source": "urn:dubline:test", "subject": job_id, "time": NOW, "actor": "local", "correlationid": job_id}


def submitted_data(**changes: Any) -> JobSubmittedData:
    source = SourceMedia(
        path="uploads/up_1.mp4", sha256="ab" * 32, size=1000, container="mov,mp4,m4a,3gp,3g2,mj2", duration_s=24.0,
        video=VideoTrack(index=0, codec="h264", width=640, height=360, frame_rate="25/1"),
        audio=AudioTrack(index=1, codec="aac", channels=2, layout="stereo", sample_rate=48000),
    )  # fmt: skip
    fields: dict[str, Any] = {
        "owner": "local", "title": "film.mp4", "stem": "film", "base_dir": "film", "source": source,
        "src_lang": "en", "tgt_lang": "pt",
    }  # fmt: skip
    return JobSubmittedData(**(fields | changes))


def submitted(job_id: str | None = None, **changes: Any) -> JobSubmitted:
    return JobSubmitted(**context(job_id or uuid7()), data=submitted_data(**changes))


def event(kind: type[Any], job_id: str, **data: Any) -> Any:
    data_type = kind.model_fields["data"].annotation
    return kind(**context(job_id), data=data_type(**data))


def claimed(job_id: str, stage: Stage, attempt: int = 1, worker: str = "w1") -> StageClaimed:
    data = StageClaimedData(stage=stage, attempt=attempt, worker=worker, host="h", pool="cpu")
    return StageClaimed(**context(job_id), data=data)


def artifact(name: str) -> Artifact:
    return Artifact(name=name, path=f"film/work/{name}", size=3, sha256="cd" * 32)


def completed(job_id: str, stage: Stage, attempt: int = 1, **changes: Any) -> StageCompleted:
    fields: dict[str, Any] = {
        "stage": stage, "attempt": attempt, "key": f"key-{stage}", "outputs": [artifact(stage)],
        "engine": EngineUsed(name="e", version="1", device="cpu", digest="d"), "timings": Timings(),
    }  # fmt: skip
    return StageCompleted(**context(job_id), data=StageCompletedData(**(fields | changes)))


def failed(job_id: str, stage: Stage, attempt: int = 1, *, retryable: bool = True) -> StageFailed:
    data = StageFailedData(stage=stage, attempt=attempt, code="engine_crashed", message="it died", retryable=retryable)
    return StageFailed(**context(job_id), data=data)


def command(job_id: str, stage: Stage = "audio", attempt: int = 1, **changes: Any) -> StageCommand:
    fields: dict[str, Any] = {
        "id": f"{job_id}.1.{stage}.{attempt}", "job_id": job_id, "run": 1, "stage": stage, "attempt": attempt,
        "pool": "cpu", "expected": 0, "job": submitted_data(), "inputs": {}, "facts": {},
        "correlationid": job_id, "causationid": uuid7(),
    }  # fmt: skip
    return StageCommand(**(fields | changes))


ALL_TYPES = types.EVENT_TYPES
