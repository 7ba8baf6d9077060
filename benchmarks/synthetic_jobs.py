"""Jobs that never ran, for benchmarks of the library: rows as the library writes them, any number, always the same.

Lives here: how they are distributed (500 projects by a power law, 0-3 of 12 tags, 10 % archived, 70 % done, 20 owners,
5 % shared), and filling a store with them. Does not live here: any measurement.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice
from typing import Any, get_args

from services.library.jobstore.store import JobStore
from services.library.view import JobView, OutputsView, OutputView, StageView
from shared.events.names import Stage
from shared.job.model import JobState, StageStatus

PROJECTS = [f"Series {number:03d}" for number in range(500)]
TAGS = ["news", "sports", "kids", "draft", "4k", "legal", "music", "archive", "client", "urgent", "demo", "travel"]
STATES = ["DONE"] * 70 + ["FAILED"] * 10 + ["CANCELED"] * 8 + ["QUEUED"] * 8 + ["RUNNING"] * 3 + ["PAUSED"]
MODES = ["high", "medium", "medium", "low"]
OWNERS = [f"u_{number:016x}" for number in range(20)]
SHARED = 0.05
WORDS = ["harbour", "mountain", "kitchen", "orchard", "railway", "lantern", "winter", "bridge", "garden", "island"]
COMMON_TEXT = WORDS[0]
RARE_TEXT = "zeppelin"
RARE_JOBS = 10
"""So many titles have the rare word, at any size."""

AT_ONCE = 2000
SEED = 4

_FIRST = datetime(2020, 1, 1, tzinfo=UTC)
_POWER = 1.16
_STAGES: tuple[Stage, ...] = get_args(Stage)


def _template() -> dict[str, Any]:
    at = _FIRST
    stages = [
        StageView(
            stage=name,
            status=StageStatus.DONE,
            attempt=1,
            started_at=at,
            ended_at=at,
            duration_s=12.345,
            load_s=1.5,
            engine_s=9.75,
            total_s=11.5,
            engine="whisper",
            engine_version="1.2.3",
            device="cpu",
            worker="worker-1",
            reused_from=None,
            facts={"segments": 120},
            error_code=None,
            error=None,
        )
        for name in _STAGES[:6]
    ]
    view = JobView(
        id="",
        seq=0,
        owner_id="local",
        title="",
        stem="",
        base_dir="",
        project_id=None,
        project_name=None,
        preset_id=None,
        tags=[],
        archived=False,
        archived_at=None,
        visibility="private",
        imported=False,
        state=JobState.DONE,
        progress=1.0,
        message="Done",
        mode="medium",
        requested_mode="medium",
        degraded=[],
        settings={},
        priority=0,
        pause_requested=False,
        device="auto",
        src_lang="en",
        tgt_lang="pt",
        detected_lang="en",
        duration_s=1200.0,
        width=1920,
        height=1080,
        created_at=at,
        updated_at=at,
        started_at=at,
        ended_at=at,
        run=1,
        version=0,
        error_code=None,
        error=None,
        issues=[],
        stages=stages,
        outputs_summary=["mkv", "mp4", "subs"],
    )
    return view.model_dump(mode="json")


def job_id(number: int) -> str:
    """Return the id of the job with this number, in the form of a UUIDv7."""
    return f"{0x16F5E66E800 + 30_000 * number:012x}"[:8] + f"-{number & 0xFFFF:04x}-7abc-8def-{number:012x}"


def jobs(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ids and rows, the oldest first. The rows share their unchanging parts."""
    chance, whose = random.Random(SEED), random.Random(SEED + 1)
    template = _template()
    weights = list(accumulate((rank + 1) ** -_POWER for rank in range(len(PROJECTS))))
    rare = set(range(count // (2 * RARE_JOBS), count, max(1, count // RARE_JOBS)))
    for number in range(count):
        key = job_id(number)
        (project,) = chance.choices(PROJECTS, cum_weights=weights)
        word = RARE_TEXT if number in rare else chance.choice(WORDS)
        title = f"The {word} of {chance.choice(WORDS[1:])} {number}"
        at = (_FIRST + timedelta(seconds=30 * number)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        mode = chance.choice(MODES)
        yield (
            key,
            template
            | {
                "id": key,
                "seq": 7 * number + 1,
                "owner_id": whose.choice(OWNERS),
                "visibility": "shared" if whose.random() < SHARED else "private",
                "title": title,
                "stem": title,
                "base_dir": f"{project}/{title}",
                "project_name": project,
                "tags": chance.sample(TAGS, chance.randrange(4)),
                "archived": chance.random() < 0.1,
                "state": chance.choice(STATES),
                "mode": mode,
                "requested_mode": mode,
                "created_at": at,
                "updated_at": at,
                "version": 7 * number + 7,
            },
        )


def outputs(key: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return what such a job made: two videos."""
    made = [
        OutputView(
            kind=kind,
            name=f"{row['stem']}.{kind}",
            path=f"{row['base_dir']}/{row['stem']}.{kind}",
            url="",
            size_bytes=1,
            sha256="ab" * 32,
            lang=None,
        )
        for kind in ("mkv", "mp4")
    ]
    return OutputsView(job_id=key, base_dir=row["base_dir"], updated_at=_FIRST, outputs=made).model_dump(mode="json")


def fill(store: JobStore, count: int) -> None:
    """Write so many jobs and build the index."""
    source = jobs(count)
    with store.bulk():
        while batch := list(islice(source, AT_ONCE)):
            store.jobs.update(batch)
