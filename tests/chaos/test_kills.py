"""kill -9 of each process of `dubline up` in the middle of a job: all come back, the job ends DONE, nothing runs twice.

Invariants E3, E4, E5 and E6, on real processes with real stages. `test_chaos` has many more faults, and no supervisor.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.library.jobstore.dump import dump
from services.library.rebuild import rebuild_into
from shared.eventlog.port import Recorded
from shared.events.subjects import job_filter
from shared.events.types import StageClaimed, StageCompleted
from shared.job.stages import GRAPH
from tests.dubbing_system import System, excerpt, running_system


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("chaos")) as running:
        yield running


def test_killed_processes_cost_neither_the_job_nor_a_finished_stage(system: System, tmp_path: Path) -> None:
    job_id = system.submit("pt", excerpt(tmp_path, 0))
    killed = {}
    for stage, victim in (("transcribe", "worker"), ("tts", "scheduler"), ("tts", "library"), ("tts", "nats")):
        system.until(job_id, lambda job, stage=stage: stage_of(job, stage)["status"] in ("claimed", "done"))
        killed[victim] = system.standalone.kill(victim)
        system.standalone.wait_restarted(victim, killed[victim])
    job = system.finished(job_id)
    assert job["state"] == "DONE", job
    completed, run_again = outcome_of(asyncio.run(history(system, job_id)))
    assert completed == Counter(dict.fromkeys(GRAPH, 1))
    assert run_again == set()
    assert asyncio.run(rebuilt_equals_live(system, tmp_path / "rebuilt.db"))


def stage_of(job: dict[str, Any], name: str) -> dict[str, Any]:
    return next(stage for stage in job["stages"] if stage["stage"] == name)


async def history(system: System, job_id: str) -> list[Recorded]:
    async with system.event_log() as log:
        return await log.read(job_filter(job_id), limit=1000)


def outcome_of(records: list[Recorded]) -> tuple[Counter[str], set[str]]:
    """Return how often each stage completed, and the stages that were claimed after they had completed."""
    completed: Counter[str] = Counter()
    run_again: set[str] = set()
    for record in records:
        if isinstance(record.event, StageCompleted):
            completed[record.event.data.stage] += 1
        if isinstance(record.event, StageClaimed) and completed[record.event.data.stage]:
            run_again.add(record.event.data.stage)
    return completed, run_again


async def rebuilt_equals_live(system: System, path: Path) -> bool:
    """E5: the projection equals a rebuild from the log, row by row."""
    async with system.event_log() as log:
        await rebuild_into(log, path)
    return dump(path) == dump(system.output / "_state" / "jobs.db")
