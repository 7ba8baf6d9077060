"""The content of a jobs.db, for comparing two of them (E5: "jobs.db equals a rebuild from the log").

Lives here: what counts as content. Row ids of the key-value tables do not (a REPLACE changes them), nor does
the cursor of job.json, which says what lies on disk and not what the log says.
"""

import sqlite3
from pathlib import Path
from typing import Any

from services.library.jobstore.schema import BOOKKEEPING_TABLES, DERIVED_TABLES, JOBS_PROJECTION, KV_TABLES

Row = tuple[Any, ...]


def dump(path: Path) -> list[Row]:
    """Return every row of every table, the table's name first, in a stable order. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        rows: list[Row] = []
        for table in (*KV_TABLES, *DERIVED_TABLES, *BOOKKEEPING_TABLES):
            found = connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 -- names of our schema
            rows += sorted((table, *row) for row in found if table != "projector" or row[0] == JOBS_PROJECTION)
    finally:
        connection.close()
    return rows
