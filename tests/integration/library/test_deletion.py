"""Deletion with a real log and real kills: all files of a deleted job go, whatever is restarted meanwhile."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from shared.events.library import JobDeleted
from shared.events.types import JobCanceled
from shared.identity import uuid7
from shared.layout import Layout
from tests.broker import running_broker
from tests.factories import event, submitted
from tests.integration.library.conftest import LibraryProcess, append_all, prepare

PROGRAM = "tests.integration.library.deleter_program"
KILLED_BEFORE = [0, 5, 13]
NEVER = 1 << 30


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def files(layout: Layout) -> set[str]:
    return {
        os.path.relpath(Path(at, name), layout.data)
        for root in (layout.output, layout.input)
        for at, _, names in os.walk(root)
        for name in names
    }


def test_kills_at_several_steps_of_several_deletions(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    layout.uploads.mkdir(parents=True)
    jobs = [uuid7() for _ in range(3)]
    kept = uuid7()
    story = []
    for job in [*jobs, kept]:
        base = layout.claim_base_dir(job, "film")
        layout.write_pointer(job, base, "film.mp4")
        layout.job(job, base, "film").dub_mkv.write_text("video")
        (layout.uploads / f"{job}.mp4").write_text("source")
        data = submitted(job).data
        source = data.source.model_copy(update={"path": f"uploads/{job}.mp4"})
        story.append(submitted(job, base_dir=base, source=source))
        if job != kept:
            story += [event(JobCanceled, job)]
            story += [event(JobDeleted, job, owner="local", base_dir=base, source=source.path)]
    expected = {file for file in files(layout) if kept in file or kept[-12:] in file}
    assert len(expected) == 6
    with running_broker(tmp_path) as broker:
        asyncio.run(prepare(broker))
        asyncio.run(append_all(broker, tuple(story)))
        for changes in KILLED_BEFORE:
            command = [sys.executable, "-m", PROGRAM, broker.url, str(layout.data), str(changes)]
            assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
        command[-1] = str(NEVER)
        with subprocess.Popen(command) as last:
            wait_for(lambda: files(layout) == expected)
            wait_for((layout.data / "position").exists)
            last.kill()
    assert list(layout.trash.iterdir()) == []


def test_the_library_removes_the_files_of_a_deleted_job(fresh_library: LibraryProcess) -> None:
    """One while it runs, one whose event it finds at its start; a job that gets the name next keeps what is its own."""
    layout = fresh_library.layout
    first, second, other = (fresh_library.finished_job("film") for _ in range(3))
    others = {file for file in files(layout) if other[-12:] in file and "manifests" not in file}
    assert others

    def deleted(job: str) -> JobDeleted:
        base = "film" if job == first else f"film-{job[-12:]}"
        made: JobDeleted = event(JobDeleted, job, owner="local", base_dir=base, source="uploads/up_1.mp4")
        return made

    fresh_library.append(deleted(first))
    wait_for(lambda: not (layout.output / "film").exists())
    assert layout.claim_base_dir(other, "film") == "film"
    fresh_library.end(signal.SIGKILL)
    asyncio.run(append_all(fresh_library.broker, (deleted(second), deleted(first))))
    fresh_library.start()
    wait_for(lambda: not (layout.output / f"film-{second[-12:]}").exists())
    wait_for(lambda: not any(layout.trash.iterdir()))
    assert layout.owner_of("film") == other
    assert others <= files(layout)
