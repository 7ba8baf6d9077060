"""What killed stages and killed workers leave behind goes away, and nobody else's files with it."""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from services.worker.child_process import ChildProcess
from services.worker.messages import Failed, Finished
from shared.layout import Layout
from shared.telemetry_off import SWITCH
from tests.integration.worker.test_child import child, ended, of, work, written

HALF = 4
"""Unpublished files of the `untidy` work."""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this machine keeps temporary files."""
    made = tmp_path / "tmp"
    made.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    monkeypatch.setenv("TMPDIR", str(made))
    return made


def half_written(data: Path) -> list[Path]:
    return [file for file in data.rglob(".*.tmp*") if file.read_bytes() == b"half"]


def unpacked(temporary: Path) -> list[Path]:
    return list(temporary.rglob("libespeak-ng.so"))


def rooms(data: Path, temporary: Path) -> list[Path]:
    return [*temporary.iterdir(), *Layout(data).in_flight.iterdir()]


async def begun(made: ChildProcess, data: Path) -> tuple["asyncio.Task[Finished | Failed]", int, Path]:
    """Run the untidy work; return it, its process and its directory."""
    wanted = work("untidy")
    running = asyncio.create_task(made.run(wanted, lambda _: None))
    pid = int(await written(of(data, wanted) / "began"))
    return running, pid, of(data, wanted)


@pytest.mark.parametrize("how", ["killed by its parent", "killed by somebody else"])
async def test_a_killed_stage_leaves_nothing(tmp_path: Path, temporary: Path, how: str) -> None:
    data = tmp_path / "data"
    async with child(data) as made:
        running, pid, _ = await begun(made, data)
        assert len(half_written(data)) == HALF
        assert unpacked(temporary)
        if how == "killed by its parent":
            await made.kill()
        else:
            os.kill(pid, signal.SIGKILL)
        assert isinstance(await running, Failed)
        assert half_written(data) == []
        assert rooms(data, temporary) == []
        assert isinstance(await made.run(work("quick"), lambda _: None), Finished), "and the next stage has its own"


async def test_the_files_of_a_stage_that_goes_on_elsewhere_are_left_alone(tmp_path: Path, temporary: Path) -> None:
    data = tmp_path / "data"
    async with child(data) as heir, child(data) as loser:
        inherited, _, work_dir = await begun(heir, data)
        lost, _, _ = await begun(loser, data)
        await loser.kill()
        await lost
        assert len(half_written(data)) == HALF
        await loser.start()  # which looks for what is abandoned
        assert len(half_written(data)) == HALF
        assert unpacked(temporary)
        (work_dir / "finish").touch()
        assert isinstance(await inherited, Finished)
        assert half_written(data) == []
        assert (work_dir / "dialogue.wav").read_bytes() == b"half", "what is published stays"


KILLED_WORKER = """
import asyncio, sys
from pathlib import Path
from services.worker import gate
from tests.integration.worker.test_child import child, work

async def main():
    async with child(Path(sys.argv[1])) as made:
        wanted = work("untidy")
        print(wanted.job_id, flush=True)
        await made.run(wanted, lambda _: None)

asyncio.run(main())
"""


async def test_what_a_killed_worker_left_is_removed_by_the_next_one(tmp_path: Path, temporary: Path) -> None:
    data = tmp_path / "data"
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED_WORKER, data, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert worker.stdout is not None
        job = (await worker.stdout.readline()).decode().strip()
        pid = int(await written(Layout(data).job(job, "film", "film").work / "began"))
        worker.kill()
        await worker.wait()
        await ended(pid)
        assert len(half_written(data)) == HALF
        assert len(rooms(data, temporary)) == 2
        async with child(data) as made:
            await made.start()
            assert half_written(data) == []
            assert len(rooms(data, temporary)) == 2, "only the new one's own"
    finally:
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        await worker.communicate()
    assert rooms(data, temporary) == []


async def test_rooms_of_other_users_are_left_alone(tmp_path: Path, temporary: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    (temporary / "dubline-worker-link").symlink_to(elsewhere)
    async with child(tmp_path / "data") as made:
        await made.start()
    assert [file.name for file in elsewhere.iterdir()] == ["file"]


async def test_onnxruntime_writes_and_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    data = tmp_path / "data"
    async with child(data, HOME=str(home)) as made:
        wanted = work("listener")
        assert isinstance(await made.run(wanted, lambda _: None), Finished)
    assert (of(data, wanted) / "found").read_text() == "lock"
