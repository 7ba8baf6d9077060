"""The body of a message: what happened to which job, in a few hundred bytes. Pure.

Lives here: its members. A message says where to read more, and carries no transcript text.
Equal events give equal bytes, so an attempt after a restart is the same message.
"""

from datetime import datetime
from typing import Any

import orjson

from shared.events.types import JobEvent, JobFailed, StageCompleted, StageEvent, StageFailed
from shared.job.model import Job, JobState
from shared.webhooks import TEST_EVENT, event_name

BODY_MAX_BYTES = 20 << 10
TEXT_MAX_CHARS = 1000
"""Error messages and titles are cut here."""

_RESULT = {"job.completed": JobState.DONE, "job.failed": JobState.FAILED, "job.canceled": JobState.CANCELED}


def happened(name: str, job: Job) -> bool:
    """Return whether the job, right after the event of this name, is as the event says: a stale one changes nothing."""
    if name == "job.deleted":
        return job.deleted
    return not job.deleted and job.state is _RESULT.get(name, job.state)


def job_body(event: JobEvent | StageEvent, seq: int, job: Job) -> bytes:
    """Return the body for an event of a job, which is as it was right after it."""
    submitted = job.submitted
    data: dict[str, Any] = {
        "id": job.id,
        "seq": seq,
        "state": job.state,
        "run": job.run,
        "title": submitted.title[:TEXT_MAX_CHARS],
        "url": f"/api/jobs/{job.id}",
        "files_url": f"/api/jobs/{job.id}/files",
        "owner_id": submitted.owner,
        "project_id": submitted.project_id,
        "project_name": submitted.project_name,
        "tags": job.tags,
        "archived": job.archived_at is not None,
        "visibility": job.visibility,
        "mode": job.mode,
        "src_lang": submitted.src_lang,
        "tgt_lang": submitted.tgt_lang,
        "created_at": _time(job.created_at),
        "updated_at": _time(event.time),
    }
    if isinstance(event, JobFailed):
        data |= {"error_code": event.data.code, "error": event.data.message[:TEXT_MAX_CHARS]}
    if isinstance(event, StageCompleted | StageFailed):
        data |= {"stage": event.data.stage, "attempt": event.data.attempt}
    if isinstance(event, StageFailed):
        data |= {
            "error_code": event.data.code,
            "error": event.data.message[:TEXT_MAX_CHARS],
            "retryable": event.data.retryable,
        }
    return _body(event_name(event.type), event.time, data)


def trial_body(webhook_id: str, seq: int, time: datetime) -> bytes:
    """Return the body of a test message."""
    return _body(TEST_EVENT, time, {"id": webhook_id, "seq": seq, "url": f"/api/webhooks/{webhook_id}"})


def _body(name: str, time: datetime, data: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": name, "timestamp": _time(time), "data": data})


def _time(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
