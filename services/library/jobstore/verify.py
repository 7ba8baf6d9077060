"""Whether the index of a jobs.db is what its rows say, and making it so.

Lives here: comparing and repairing. Does not live here: what the rows say (`derivation`).
"""

# ruff: noqa: S608 -- SQL made of names of our schema

import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from services.library.jobstore import building, schema
from services.library.jobstore.derivation import RECOUNTS, TRIGGERS, WRONG_ENTRIES

NAMED_AT_MOST = 5
"""So many of the wrong ones are named in a line."""

WRITE_TIMEOUT_S = 60.0

_FULL_TEXT = ("job_index", "job_fts_data", "job_fts_idx", "job_fts_docsize", "job_fts_config")


@dataclass(frozen=True)
class Report:
    """What was found: `differences` in words, none if all is well."""

    jobs: int
    differences: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.differences


def verify(path: Path) -> Report:
    """Compare index, tags, counts, files and full text with a recount from the rows, all of one moment.

    Nothing is written to the file. The full text's own check needs to write: it is made on a copy of its tables and
    of the index, in a temporary file (about a tenth of jobs.db). Raises sqlite3.Error, FileNotFoundError.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    with tempfile.TemporaryDirectory(prefix="dubline-verify-") as directory:
        copy = Path(directory) / "copy.db"
        with closing(sqlite3.connect(copy)) as made:
            made.executescript(schema.TABLES)
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            connection.execute("ATTACH ? AS copy", (str(copy),))
            connection.execute("PRAGMA copy.synchronous = OFF")
            connection.execute("BEGIN")
            (jobs,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if abs(version) != schema.SCHEMA_VERSION:  # its index has other columns: there is nothing to compare
                return Report(jobs, [_other_version(version)])
            differences = [*_bookkeeping(connection, version), *_entries(connection), *_tables(connection)]
            for table in _FULL_TEXT:
                connection.execute(f"DELETE FROM copy.{table}")
                connection.execute(f"INSERT INTO copy.{table} SELECT * FROM main.{table}")
            connection.execute("COMMIT")
        return Report(jobs, [*differences, *_full_text(copy)])


def reindex(path: Path) -> None:
    """Make all that is derived anew from the rows; a running library's reads go on, its writes wait.

    Raises sqlite3.Error, FileNotFoundError.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    with closing(sqlite3.connect(path, WRITE_TIMEOUT_S, isolation_level=None)) as connection:
        building.build(connection)


def _other_version(version: int) -> str:
    return f"the file's version is {version} and not {schema.SCHEMA_VERSION}"


def _bookkeeping(connection: sqlite3.Connection, version: int) -> list[str]:
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")}
    missing = sorted(TRIGGERS.keys() - found)
    lines = [f"triggers are missing: {', '.join(missing)}"] if missing else []
    if version != schema.SCHEMA_VERSION:
        lines.append(_other_version(version))
    return lines


def _entries(connection: sqlite3.Connection) -> list[str]:
    wrong = [job_id for (job_id,) in connection.execute(WRONG_ENTRIES)]
    return [_line("job_index", len(wrong), wrong)] if wrong else []


def _tables(connection: sqlite3.Connection) -> list[str]:
    lines = []
    for table, recount in RECOUNTS.items():
        kept = f"SELECT * FROM main.{table}"
        for left, right in ((kept, f"SELECT * FROM ({recount})"), (f"SELECT * FROM ({recount})", kept)):
            wrong = connection.execute(f"{left} EXCEPT {right}").fetchall()
            if wrong:
                lines.append(_line(table, len(wrong), [row[0] for row in wrong]))
                break
    return lines


def _line(table: str, count: int, names: list[str]) -> str:
    more = ", …" if len(names) > NAMED_AT_MOST else ""
    return f"{table}: {count} wrong: {', '.join(repr(name) for name in names[:NAMED_AT_MOST])}{more}"


def _full_text(copy: Path) -> list[str]:
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        try:
            connection.execute("INSERT INTO job_fts (job_fts, rank) VALUES ('integrity-check', 1)")
        except sqlite3.DatabaseError as error:
            return [f"job_fts: {error}"]
    return []
