"""The writer's side of jobs.db: sqlitedict's tables, transactions, the projection cursor and the quarantine.

Lives here: opening and setting aside. A stock SqliteDict of this file (`journal_mode="WAL"`, a JSON codec) reads and
writes the same rows. Does not live here: SQL of the index (`derivation`), reading for HTTP (`reader`, `queries`).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from services.library.jobstore import building, schema
from services.library.jobstore.connection import SharedConnection
from services.library.jobstore.kv import KV

log = structlog.get_logger()


class WrongSchemaError(Exception):
    """The file was written by another version of the projection."""


@dataclass(frozen=True)
class Cursor:
    """How far a projection is: the sequence of its last event, and that event's digest ("" before the first)."""

    seq: int = 0
    digest: str = ""


class JobStore:
    """All tables of jobs.db, for its one writer."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises sqlite3.Error, WrongSchemaError, OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._shared = SharedConnection(path)
        try:
            self._prepare(path)
        except BaseException:
            self._shared.shut()
            raise

    def _prepare(self, path: Path) -> None:
        found = self._shared.select_one("PRAGMA user_version")
        version = int(found[0]) if found else 0
        if version not in (0, schema.SCHEMA_VERSION, schema.BUILDING, *schema.SAME_ROWS):
            raise WrongSchemaError(f"jobs.db has schema {version}, this library {schema.SCHEMA_VERSION}")
        self.jobs = KV(self._shared, "jobs", path)
        self.idempotency = KV(self._shared, "idempotency", path)
        self.presets = KV(self._shared, "presets", path)
        self.projects = KV(self._shared, "projects", path)
        self.uploads = KV(self._shared, "uploads", path)
        self.job_outputs = KV(self._shared, "job_outputs", path)
        with self._shared.exclusive() as connection:
            if version == 0:
                building.create(connection)
            elif version == schema.BUILDING:
                log.warning("jobs_db_index_unfinished", action="it is built from the rows")
                building.build(connection)
            elif version in schema.SAME_ROWS:
                log.warning("jobs_db_index_of_another_version", version=version, action="it is built from the rows")
                building.build(connection)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all writes inside one unit, of whatever tables. Raises sqlite3.Error."""
        with self._shared.transaction():
            yield

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """Do not keep the index inside; build it from the rows at the end, also after an error. Raises sqlite3.Error.

        For many rows (a rebuild): readers find the index of before until then. `transaction` goes inside, not around.
        """
        with self._shared.exclusive() as connection:
            building.suspend(connection)
        try:
            yield
        finally:
            with self._shared.exclusive() as connection:
                building.build(connection)

    def cursor(self, name: str) -> Cursor:
        """Return how far the named projection is."""
        row = self._shared.select_one("SELECT last_seq, last_digest FROM projector WHERE name = ?", (name,))
        return Cursor(*row) if row else Cursor()

    def move_cursor(self, name: str, cursor: Cursor) -> None:
        """Record how far the named projection is, in the caller's transaction if there is one (E5)."""
        self._shared.execute("REPLACE INTO projector VALUES (?, ?, ?)", (name, cursor.seq, cursor.digest))

    def quarantine(self, seq: int, subject: str, error: str) -> None:
        """Keep the place of an event that could not be decoded or applied (E7)."""
        self._shared.execute("REPLACE INTO quarantine VALUES (?, ?, ?)", (seq, subject, error))

    def close(self) -> None:
        self._shared.shut()


def open_store(path: Path) -> JobStore:
    """Open jobs.db; one that another version wrote, or that is no database, is set aside and made new.

    Nothing is lost by that: the log holds everything. Raises sqlite3.OperationalError, OSError.
    """
    try:
        return JobStore(path)
    except (WrongSchemaError, sqlite3.DatabaseError) as error:
        if isinstance(error, sqlite3.OperationalError):  # locked, full, not permitted: the file itself may be well
            raise
        set_aside(path, str(error))
        return JobStore(path)


def set_aside(path: Path, reason: str) -> None:
    """Rename a jobs.db that cannot serve, with its WAL, to `*.aside` (one is kept). Raises OSError."""
    log.warning("jobs_db_set_aside", reason=reason)
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(path.with_name(f"{path.name}.aside{suffix}"))
