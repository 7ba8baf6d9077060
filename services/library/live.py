"""Live progress of running stages: in memory only, gone with the process, never in the log.

Lives here: the newest message per job and how it is laid over a stored row. Does not live here: the scale (`view`).
"""

from typing import Any

import orjson

from services.library.view import DOING, job_progress
from shared.job.model import JobState, StageStatus
from shared.telemetry import Progress

MAX_JOBS = 10_000
"""Progress of jobs that never end here (another installation's, a lost worker's) must not fill the memory."""


class LiveProgress:
    """The newest progress of each running job."""

    def __init__(self) -> None:
        self._newest: dict[str, Progress] = {}

    def update(self, progress: Progress) -> None:
        self._newest.pop(progress.job_id, None)
        self._newest[progress.job_id] = progress
        if len(self._newest) > MAX_JOBS:
            del self._newest[next(iter(self._newest))]

    def forget(self, job_id: str) -> None:
        self._newest.pop(job_id, None)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._newest

    def __len__(self) -> int:
        """How many jobs have any: where there are none, a list need not be looked through."""
        return len(self._newest)

    def over(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a stored job with live `progress`, `message` and the running stage's `fraction`.

        A message about a stage or attempt that the log knows as ended, or does not know yet, changes nothing.
        """
        progress = self._newest.get(row.get("id", ""))
        if progress is None or row.get("state") != JobState.RUNNING:
            return row
        stages = [dict(stage) for stage in row["stages"]]
        running = [
            stage for stage in stages
            if (stage["stage"], stage["attempt"], stage["status"])
            == (progress.stage, progress.attempt, StageStatus.CLAIMED)
        ]  # fmt: skip
        if not running:
            return row
        running[0]["fraction"] = round(progress.fraction, 4)
        statuses = {stage["stage"]: StageStatus(stage["status"]) for stage in stages}
        total = job_progress(statuses, JobState.RUNNING, {progress.stage: progress.fraction})
        return row | {"stages": stages, "progress": total, "message": progress.message or DOING[progress.stage]}

    def over_bytes(self, job_id: str, row: bytes) -> bytes:
        """Return the stored bytes, decoded and encoded again only where there is something to lay over."""
        return orjson.dumps(self.over(orjson.loads(row))) if job_id in self._newest else row
