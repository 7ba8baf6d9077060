"""A process that projects a small log again and again, each time hurt at another point: see `test_faults`.

Lives here: the fault points, put around the production code's own seams, and one forked child for each. Prints a JSON
object. Does not live here: what the results have to be.
"""

import asyncio
import ctypes
import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from services.library import projector as projector_module
from services.library import rebuild as rebuild_module
from services.library.jobstore.connection import SharedConnection
from services.library.jobstore.dump import dump
from services.library.jobstore.kv import KV
from services.library.jobstore.reader import Reader, open_readonly
from services.library.jobstore.store import JobStore
from services.library.projection import Projection
from services.library.projector import Projector
from services.library.rebuild import rebuild
from shared.eventlog.memory import MemoryEventLog
from shared.eventlog.port import Recorded
from shared.events.library import JobDeleted, ProjectSaved
from tests.factories import NOW, event
from tests.unit.library.stories import JOB, log_of, undecodable, whole_story

BATCH = 6
HALF = 24
OTHER = "01890000-0000-7000-8000-000000000002"
POINTS_MAX = 500


def the_log() -> list[Recorded]:
    """Two jobs, one of them deleted in the end, a project, and an event that does not decode."""
    deleted = event(JobDeleted, OTHER, owner="local", base_dir="film", source="")
    saved = event(ProjectSaved, "proj_1", owner="local", name="p", created_at=NOW)
    log = log_of([*whole_story(), saved], [*whole_story(OTHER), deleted])
    return [*log, undecodable(len(log) + 1, JOB)]


class SmallBatches(MemoryEventLog):
    """The prepared log, handed out in small pieces."""

    def __init__(self, records: list[Recorded]) -> None:
        super().__init__()
        self.records = records

    async def follow(self, *, after: int = 0) -> AsyncIterator[list[Recorded]]:
        while after < len(self.records):
            yield self.records[after : after + BATCH]
            after += BATCH
        await asyncio.Event().wait()


class FaultPoints:
    """Counts the points that this process passes, and kills it at one of them."""

    def __init__(self, kill_at: int) -> None:
        self._left = kill_at

    def point(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: type[Any], name: str) -> None:
        """A point before and one after each call."""
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.point()
            result = original(*args, **kwargs)
            self.point()
            return result

        setattr(owner, name, wrapped)

    def install(self) -> None:
        transaction = SharedConnection.transaction

        @contextmanager
        def wrapped(connection: SharedConnection) -> Iterator[None]:
            self.point()  # before BEGIN
            with transaction(connection):
                yield
                self.point()  # before COMMIT
            self.point()

        SharedConnection.transaction = wrapped  # type: ignore[method-assign]
        self.around(KV, "put_text")
        self.around(KV, "__delitem__")
        self.around(JobStore, "move_cursor")
        self.around(JobStore, "close")
        self.around(Path, "replace")
        self.around(Path, "unlink")


async def project_all(path: Path, log: MemoryEventLog, listener: Callable[[], None]) -> None:
    """Run a projector until it is where the log ends, with a waiting rebuild taken over."""
    reader = Reader(path)
    projector = Projector(path, lambda _committed: listener(), reader.replacing)
    await projector.open_local()
    await projector.attach(log)
    following = asyncio.create_task(projector.run())
    while projector.position < len(log.records) or path.with_name("jobs.db.rebuilt").exists():
        await asyncio.wait({following}, timeout=0.005)
        if following.done():
            break
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    await projector.close()
    reader.close()


def prepare(path: Path, log: list[Recorded], scenario: str) -> None:
    """Lay out what the projector finds."""
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir()
    if scenario != "new":
        store = JobStore(path)
        Projection(store).apply(log[:HALF])
        store.close()
    if scenario == "taken over":
        asyncio.run(rebuild(SmallBatches(log[: HALF - 3]), path))


def forked(run: Callable[[], None]) -> int:
    """Run in a child; return its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 -- a child never returns into the parent's code
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def kills(directory: Path, scenario: str) -> dict[str, Any]:
    """Kill at every point in turn, start again, and compare."""
    log, path, clean = the_log(), directory / "state" / "jobs.db", clean_content(directory)
    different: list[int] = []
    template = directory / "template" / "jobs.db"
    prepare(template, log, scenario)
    for kill_at in range(1, POINTS_MAX):
        shutil.rmtree(path.parent, ignore_errors=True)
        shutil.copytree(template.parent, path.parent)

        def hurt(kill_at: int = kill_at) -> None:
            faults = FaultPoints(kill_at)
            faults.install()
            asyncio.run(project_all(path, SmallBatches(log), faults.point))

        if forked(hurt) != -signal.SIGKILL:
            return {"points": kill_at - 1, "different": different}
        ended = forked(lambda: asyncio.run(project_all(path, SmallBatches(log), lambda: None)))
        if ended != 0 or dump(path) != clean:
            different.append(kill_at)
    raise AssertionError("it never ends")


def clean_content(directory: Path) -> Any:
    store = JobStore(directory / "clean.db")
    Projection(store).apply(the_log())
    store.close()
    return dump(directory / "clean.db")


def full_disk(directory: Path, number: int, first: int, count: int) -> dict[str, Any]:
    """Let writes fail for a while; a reader in the same process reads all the time."""
    log, path, clean = the_log(), directory / "state" / "jobs.db", clean_content(directory)
    prepare(path, log, "follow")

    def hurt() -> None:
        stop, torn = threading.Event(), []
        connection = open_readonly(path)
        connection.execute("SELECT 1 FROM jobs").fetchall()

        def read() -> None:
            while not stop.is_set():
                torn.extend(what_is_torn(connection))

        reading = threading.Thread(target=read)
        reading.start()
        faults = ctypes.CDLL(None)
        faults.disk_faults_arm(ctypes.c_long(first), ctypes.c_long(count), number)
        asyncio.run(project_all(path, SmallBatches(log), lambda: None))
        met = ctypes.CDLL(None).disk_faults_calls()
        faults.disk_faults_arm(ctypes.c_long(0), ctypes.c_long(0), 0)
        stop.set()
        reading.join()
        connection.close()
        (directory / "result").write_text(json.dumps({"torn": torn, "met": min(max(0, met - first + 1), count)}))

    ended = forked(hurt)
    result = json.loads((directory / "result").read_text()) if ended == 0 else {}
    return {"ended": ended, "same": dump(path) == clean, **result}


def what_is_torn(connection: sqlite3.Connection) -> list[str]:
    """Read rows and cursor from one snapshot: the rows are those of the cursor's batch, whole."""
    try:
        connection.execute("BEGIN")
        (seq,) = connection.execute("SELECT last_seq FROM projector WHERE name = 'jobs'").fetchone()
        (version,) = connection.execute("SELECT max(value ->> '$.version') FROM jobs").fetchone()
        (indexed,) = connection.execute("SELECT count(*) FROM job_index").fetchone()
        (rows,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        return [f"a read failed: {error}"]
    whole = seq in {HALF, *range(HALF, len(the_records) + BATCH, BATCH), len(the_records)}
    return [] if whole and version <= seq and indexed == rows else [f"{seq} {version} {indexed} {rows}"]


the_records = the_log()


def main(arguments: list[str]) -> None:
    structlog.configure(processors=[lambda *_: (_ for _ in ()).throw(structlog.DropEvent())])
    projector_module.RETRY_S = projector_module.IDLE_S = 0.01
    rebuild_module.READ_AT_ONCE = BATCH
    directory = Path(arguments[1])
    match arguments[0]:
        case "kills":
            result = kills(directory, arguments[2])
        case _:
            result = full_disk(directory, int(arguments[2]), int(arguments[3]), int(arguments[4]))
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
