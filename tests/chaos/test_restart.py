"""Stopping everything in the middle of a job and starting it again: the job goes on where it was."""

import asyncio
from pathlib import Path

from shared.events.types import StageReleased
from shared.job.stages import GRAPH
from tests.chaos.test_kills import history, outcome_of, stage_of
from tests.dubbing_system import excerpt, running_system


def test_a_stopped_system_takes_its_jobs_up_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_system(data) as before:
        job_id = before.submit("pt", excerpt(tmp_path, 900), mode="low")
        before.until(job_id, lambda job: stage_of(job, "transcribe")["status"] == "claimed")
    with running_system(data) as after:
        job = after.finished(job_id)
        assert job["state"] == "DONE", job
        records = asyncio.run(history(after, job_id))
    completed, run_again = outcome_of(records)
    assert dict(completed) == dict.fromkeys(GRAPH, 1)
    assert run_again == set()
    handed_back = [record.event.data.stage for record in records if isinstance(record.event, StageReleased)]
    assert handed_back in ([], ["transcribe"]), "finished inside the drain time, or handed back"
