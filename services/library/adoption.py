"""Putting another file in the place of jobs.db while it is read, and what tells that this has to happen.

Lives here: names and renames. Readers keep their connections to the old file, under whatever name, until they open
again; nobody may open one between the renames (`Replacing`), or it would meet one file's WAL beside another.
Does not live here: who decides (`projector`), and what is in the file (`rebuild`).
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from services.library.jobstore.store import set_aside
from shared.artifacts import fsync_dir

Replacing = Callable[[], AbstractContextManager[object]]
"""Held around the renames: readers in this process open nothing meanwhile, and open anew afterwards."""

Identity = tuple[int, int]

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PARTS = ("", "-wal", "-shm", "-journal")


class RebuildRunningError(Exception):
    """Another rebuild of the same jobs.db is running, or is being taken over just now."""


def rebuilding_path(jobs_db: Path) -> Path:
    """Where a rebuild writes: nobody else looks at it."""
    return jobs_db.with_name(f"{jobs_db.name}.rebuilding")


def rebuilt_path(jobs_db: Path) -> Path:
    """Where a finished rebuild waits until the projector, running or started next, takes it over."""
    return jobs_db.with_name(f"{jobs_db.name}.rebuilt")


def recovering_path(jobs_db: Path) -> Path:
    """Where the projector itself writes a new jobs.db when the old one can no longer serve."""
    return jobs_db.with_name(f"{jobs_db.name}.recovering")


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep other processes from rebuilding in this directory, or taking over. Raises RebuildRunningError, OSError."""
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RebuildRunningError("another rebuild of jobs.db runs, or is being taken over: try again") from error
        yield
    finally:
        os.close(held)


def check_whole(path: Path) -> None:
    """Refuse a closed database whose WAL could not be written back into it. Raises sqlite3.OperationalError."""
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists():
        raise sqlite3.OperationalError(f"{wal.name} could not be written back")


def discard(path: Path) -> None:
    """Remove a database with all that belongs to it. Raises OSError."""
    for suffix in reversed(_PARTS):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def identity(path: Path) -> Identity | None:
    """Return which file is at this path, None for no file. Raises OSError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def install(replacement: Path, path: Path, reason: str) -> None:
    """Put a closed database in the place of another closed one, which is set aside; without a reason it is removed.

    Interrupted between the renames it leaves no file at `path`, which `identity` tells. Raises OSError.
    """
    set_aside(path, reason) if reason else discard(path)
    replacement.replace(path)
    fsync_dir(path.parent)


def is_damage(error: Exception) -> bool:
    """Return whether SQLite says that the file itself is bad, and not that it could not be read or written now."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGE


def inspect(connection: sqlite3.Connection) -> str:
    """Look at every page of a database, which takes seconds for a large one; return what is wrong with it, or ""."""
    try:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error) if is_damage(error) else ""
    return "" if verdict == "ok" else str(verdict)
