"""The stage child as a process: how it ends, what it may take, and that nothing outlives it."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from services.worker import gate
from services.worker.child_process import ChildProcess
from services.worker.messages import Failed, Finished
from shared.commands import StageCommand
from shared.ffmpeg import Ffmpeg
from shared.identity import uuid7
from shared.layout import Layout
from tests.factories import command, submitted_data
from tests.integration.media.films import make_film
from tests.integration.worker.child_program import CHILD
from tests.system import eventually

ACK_WAIT_S = 2.0


@asynccontextmanager
async def child(data: Path, **environment: str) -> AsyncIterator[ChildProcess]:
    made = ChildProcess(Layout(data), CHILD, {"DUBLINE_ACK_WAIT_S": "600", **environment})
    made.renew(gate.now())
    try:
        yield made
    finally:
        await made.kill()


def work(title: str) -> StageCommand:
    return command(uuid7(), job=submitted_data(title=title))


def of(data: Path, wanted: StageCommand) -> Path:
    return Layout(data).job(wanted.job_id, wanted.job.base_dir, wanted.job.stem).work


async def written(path: Path) -> str:
    """Return the content of a file once it is there."""
    return await asyncio.to_thread(content_of, path)


async def begun(made: ChildProcess, path: Path) -> int:
    """Return the pid of a child whose stage runs; until then its parent looks often, however slowly it starts."""
    reading = asyncio.create_task(written(path))
    while not reading.done():
        made.renew(gate.now())
        await asyncio.wait({reading}, timeout=0.1)
    return int(await reading)


def content_of(path: Path) -> str:
    eventually(f"{path.name} is written", path.exists, 60)
    return path.read_text()


def lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


async def ended(pid: int) -> None:
    await asyncio.to_thread(eventually, "the process has ended", lambda: not lives(pid))


async def test_a_child_that_is_asked_to_end_does_so_at_a_progress_point_and_stays_warm(tmp_path: Path) -> None:
    async with child(tmp_path) as made:
        wanted = work("steady")
        running = asyncio.create_task(made.run(wanted, lambda _: None))
        first = await written(of(tmp_path, wanted) / "began")
        made.ask_to_end()
        outcome = await running
        assert isinstance(outcome, Failed)
        assert outcome.code == "canceled"
        assert isinstance(await made.run(work("quick"), lambda _: None), Finished), "a late word does not end the next"
        again = work("steady")
        running = asyncio.create_task(made.run(again, lambda _: None))
        assert await written(of(tmp_path, again) / "began") == first
        made.ask_to_end()
        await running


async def test_a_killed_child_takes_its_grandchildren_along(tmp_path: Path) -> None:
    async with child(tmp_path) as made:
        wanted = work("parent")
        running = asyncio.create_task(made.run(wanted, lambda _: None))
        grandchild = int(await written(of(tmp_path, wanted) / "grandchild"))
        assert lives(grandchild)
        await made.kill()
        assert isinstance(await running, Failed)
        await ended(grandchild)


async def test_a_child_that_dies_takes_its_grandchildren_along_too(tmp_path: Path) -> None:
    async with child(tmp_path) as made:
        wanted = work("parent")
        running = asyncio.create_task(made.run(wanted, lambda _: None))
        grandchild = int(await written(of(tmp_path, wanted) / "grandchild"))
        os.kill(int(await written(of(tmp_path, wanted) / "began")), signal.SIGKILL)
        outcome = await running
        assert isinstance(outcome, Failed)
        assert outcome.retryable
        await ended(grandchild)


async def test_after_a_death_the_next_command_has_a_new_child(tmp_path: Path) -> None:
    async with child(tmp_path) as made:
        outcome = await made.run(work("suicide"), lambda _: None)
        assert isinstance(outcome, Failed)
        assert (outcome.code, outcome.retryable) == ("child_died", True)
        assert "exit code 7" in outcome.message
        assert isinstance(await made.run(work("quick"), lambda _: None), Finished)


async def test_a_child_that_cannot_be_started_fails_the_stage_and_not_the_worker(tmp_path: Path) -> None:
    blocked = Layout(tmp_path).in_flight
    blocked.parent.mkdir(parents=True)
    blocked.touch()
    async with child(tmp_path) as made:
        await made.start()
        outcome = await made.run(work("quick"), lambda _: None)
        assert isinstance(outcome, Failed)
        assert (outcome.code, outcome.retryable) == ("child_died", True)
        blocked.unlink()
        assert isinstance(await made.run(work("quick"), lambda _: None), Finished)


async def test_a_memory_hog_runs_out_of_memory_instead_of_taking_all_of_it(tmp_path: Path) -> None:
    async with child(tmp_path, WATCHDOG_CHILD_MAX_MEM_MB="600") as made:
        outcome = await made.run(work("hog"), lambda _: None)
        assert isinstance(outcome, Failed)
        assert (outcome.code, outcome.retryable) == ("out_of_memory", True)
        assert isinstance(await made.run(work("quick"), lambda _: None), Finished), "the process lives on"


async def test_an_engine_that_fails_is_named(tmp_path: Path) -> None:
    async with child(tmp_path) as made:
        outcome = await made.run(work("broken"), lambda _: None)
        assert isinstance(outcome, Failed)
        assert (outcome.code, outcome.engine) == ("engine_failed", "kokoro")


async def test_a_child_that_was_stopped_beyond_the_ack_wait_publishes_only_once_its_parent_has_looked(
    tmp_path: Path,
) -> None:
    async with child(tmp_path, DUBLINE_ACK_WAIT_S=f"{ACK_WAIT_S}") as made:
        wanted = work("steady")
        running = asyncio.create_task(made.run(wanted, lambda _: None))
        pid = await begun(made, of(tmp_path, wanted) / "began")
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(ACK_WAIT_S + 0.5)
        (of(tmp_path, wanted) / "finish").touch()
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(0.7)
        assert not running.done()
        assert not (of(tmp_path, wanted) / "artifact").exists()
        made.renew(gate.now())
        assert isinstance(await running, Finished)


async def test_a_stage_without_progress_points_publishes_nothing_once_its_parent_was_silent_for_too_long(
    tmp_path: Path,
) -> None:
    async with child(tmp_path, DUBLINE_ACK_WAIT_S=f"{ACK_WAIT_S}") as made:
        wanted = work("busy")
        running = asyncio.create_task(made.run(wanted, lambda _: None))
        await begun(made, of(tmp_path, wanted) / "began")
        await asyncio.sleep(ACK_WAIT_S + 0.5)
        (of(tmp_path, wanted) / "finish").touch()
        await asyncio.sleep(0.7)
        assert not (of(tmp_path, wanted) / "artifact").exists()
        made.renew(gate.now())
        assert isinstance(await running, Finished)
        assert (of(tmp_path, wanted) / "artifact").exists()


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """Mount a small file system, where that is allowed."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


async def test_a_full_disk_in_a_real_stage_is_told_as_such_and_leaves_no_partial_file(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with small_disk(data, "2m"):
        ffmpeg = Ffmpeg.find()
        source = make_film(ffmpeg, tmp_path / "film.mkv", "matroska", seconds=60.0, size="64x48", fps="5")
        uploaded = Layout(data).input / "up.mkv"
        uploaded.parent.mkdir(parents=True)
        uploaded.write_bytes(source.read_bytes())
        taken = submitted_data()
        media = taken.source.model_copy(update={"path": "up.mkv", "duration_s": 60.0})
        wanted = command(uuid7(), "audio", job=taken.model_copy(update={"source": media}))
        made = ChildProcess(Layout(data), environment={"DUBLINE_ACK_WAIT_S": "600"})
        made.renew(gate.now())
        try:
            outcome = await made.run(wanted, lambda _: None)
        finally:
            await made.kill()
        assert isinstance(outcome, Failed)
        assert (outcome.code, outcome.retryable) == ("disk_full", True)
        work_dir = of(data, wanted)
        assert [file for file in work_dir.rglob("*") if file.suffix == ".wav"] == []
