"""The writer's side of jobs.db: sqlitedict's tables over one shared WAL connection with real transactions.

Lives here: opening, transactions, the projection cursor and the quarantine. A stock SqliteDict of this file
(`journal_mode="WAL"`, a JSON codec) reads and writes the same rows.
Does not live here: SQL of the index (`schema`), reading for HTTP (`reader`).
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from sqlitedict import SqliteDict

from services.library.jobstore import schema
from services.library.jobstore.codec import dumps_text, loads_text

BUSY_TIMEOUT_S = 5.0
CACHE_KIB = 64 * 1024
MMAP_BYTES = 4 << 30

log = structlog.get_logger()


class WrongSchemaError(Exception):
    """The file was written by another version of the projection."""


class SharedConnection:
    """What SqliteDict expects of a connection, over one SQLite connection for all of its tables.

    Any thread may use it; a transaction holds the lock, so that two never mix.
    """

    autocommit = True

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            # NORMAL: a power cut may take the last transactions, cursor included; the log gives them back.
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            self._connection.execute(f"PRAGMA mmap_size = {MMAP_BYTES}")
            self._connection.execute("PRAGMA temp_store = MEMORY")
        except sqlite3.Error:
            self._connection.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what happens inside one unit; a nested one joins its outer. Raises sqlite3.Error."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself rolls back on some errors, a full disk for one
                    self._connection.execute("ROLLBACK")
                raise

    def script(self, sql: str) -> None:
        """Run several statements outside of a transaction of ours."""
        with self._lock:
            self._connection.executescript(sql)

    def execute(self, sql: str, parameters: tuple[Any, ...] = ()) -> None:
        with self._lock:
            self._connection.execute(sql, parameters)

    def executemany(self, sql: str, items: Iterable[tuple[Any, ...]]) -> None:
        with self.transaction():
            self._connection.executemany(sql, items)

    def select(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()

    def select_one(self, sql: str, parameters: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        with self._lock:
            row: tuple[Any, ...] | None = self._connection.execute(sql, parameters).fetchone()
            return row

    def commit(self, blocking: bool = True) -> None:
        """Nothing to do: a statement outside of `transaction` has committed, one inside commits with it."""

    def close(self, force: bool = False) -> None:
        """Nothing to do: one table does not close the others' connection; `shut` does."""

    def shut(self) -> None:
        with self._lock:
            self._connection.close()


class KV(SqliteDict):  # type: ignore[misc]  # sqlitedict has no types
    """One key-value table of the shared connection."""

    def __init__(self, shared: SharedConnection, table: str, path: Path) -> None:
        self._shared = shared
        super().__init__(
            str(path), table, autocommit=True, journal_mode="WAL", encode=dumps_text, decode=loads_text
        )  # fmt: skip

    def _new_conn(self) -> SharedConnection:
        return self._shared


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
        if version not in (0, schema.SCHEMA_VERSION):
            raise WrongSchemaError(f"jobs.db has schema {version}, this library {schema.SCHEMA_VERSION}")
        self.jobs = KV(self._shared, "jobs", path)
        self.idempotency = KV(self._shared, "idempotency", path)
        self.presets = KV(self._shared, "presets", path)
        self.projects = KV(self._shared, "projects", path)
        self.uploads = KV(self._shared, "uploads", path)
        self.job_outputs = KV(self._shared, "job_outputs", path)
        if version == 0:
            version_sql = f"PRAGMA user_version = {schema.SCHEMA_VERSION};"
            self._shared.script(f"BEGIN IMMEDIATE; {schema.TABLES} {schema.TRIGGERS} {version_sql} COMMIT;")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all writes inside one unit, of whatever tables. Raises sqlite3.Error."""
        with self._shared.transaction():
            yield

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
