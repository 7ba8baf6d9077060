"""The demo job: seconds per stage, real-time factor, orchestration overhead, cold and warm start.

Lives here: the measurement over HTTP and the job's own receipts. An engine's own time is what the stage's child
measured; everything else between two stages' ends is orchestration.
"""

import statistics
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.installation import installed, variant
from benchmarks.rows import Row

STAGES = ("audio", "transcribe", "translate", "tts", "mix", "mux")
RUNS = 3


def rows(directory: Path) -> Iterator[Row]:
    """Dub the sample several times on one installation and yield its figures."""
    started = time.monotonic()
    with installed(directory) as system:
        yield Row("start until ready", time.monotonic() - started, "s")
        jobs = []
        walls = []
        for number in range(RUNS):
            system.forget_takes()  # the lines are the same, and would not be spoken again
            submitted = time.monotonic()
            jobs.append(system.finished(system.submit(variant(directory, number))))
            walls.append(time.monotonic() - submitted)
        yield Row("demo job, cold engines: submit to done", walls[0], "s")
        yield Row("demo job, warm engines: submit to done", statistics.median(walls[1:]), "s")
        yield from _stages(jobs)
        again = time.monotonic()
        system.finished(system.submit(variant(directory, RUNS - 1)))
        yield Row("same video again, every stage re-used", time.monotonic() - again, "s")


def _stages(jobs: list[dict[str, Any]]) -> Iterator[Row]:
    warm = jobs[1:]
    media_s = float(_stage(jobs[0], "audio")["facts"]["duration_s"])
    for name in STAGES:
        yield Row(f"{name}: stage", statistics.median(_work_s(job, name) for job in warm), "s")
    total = statistics.median(sum(_work_s(job, name) for name in STAGES) for job in warm)
    yield Row("all stages, warm, per second of video", total / media_s, "x real time")
    overheads = [overhead for job in warm for overhead in _overheads_ms(job)]
    yield Row("orchestration per stage, p50", statistics.median(overheads), "ms", "engine time", "<= 10")
    yield Row("orchestration per stage, max", max(overheads), "ms", "engine time")
    share = [100 * sum(_overheads_ms(job)) / 1000 / _wall_s(job) for job in warm]
    yield Row("orchestration share of the job", statistics.median(share), "%", "wall time", "<= 1")


def _stage(job: dict[str, Any], name: str) -> dict[str, Any]:
    return next(stage for stage in job["stages"] if stage["stage"] == name)


def _work_s(job: dict[str, Any], name: str) -> float:
    """The stage's own time, as its child measured it: engine, loading, reading, writing and hashing."""
    return float(_stage(job, name)["total_s"])


def _overheads_ms(job: dict[str, Any]) -> list[float]:
    """From the end of the stage before (or the job's start) to this one's end, less the stage's own time."""
    ends = [_time(job["started_at"])]
    overheads = []
    for name in STAGES:
        stage = _stage(job, name)
        ended = _time(stage["ended_at"])
        overheads.append(1000 * ((ended - ends[-1]).total_seconds() - _work_s(job, name)))
        ends.append(ended)
    return overheads


def _wall_s(job: dict[str, Any]) -> float:
    return (_time(job["ended_at"]) - _time(job["started_at"])).total_seconds()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
