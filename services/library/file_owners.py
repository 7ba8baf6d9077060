"""Who may read a file below the output root: asked before it is opened.

Lives here: from a path to the jobs whose file it is, by indexed look-ups however many jobs there are (predecessor fault
V10), and whether the one who asks may read them. A file that a job recorded is that job's. Any other (logs, chunks of a
stream, what the predecessor left) is the job's whose base directory it lies in, as the directory's own marker says, or
jobs.db where an old one has no marker. What is nobody's is an administrator's.
Does not live here: opening (`files`), the answer (`file_answers`).
"""

import sqlite3
from pathlib import Path

from services.library.files import served
from services.library.jobstore.queries import read_audiences, read_owner
from shared import base_dirs
from shared.access.principal import EVERYBODY, Principal

_RECORDED_FOR = """
SELECT job_index.audience
FROM job_files LEFT JOIN job_index INDEXED BY sqlite_autoindex_job_index_1 ON job_index.id = job_files.job_id
WHERE job_files.path = ?
"""


def may_read(connection: sqlite3.Connection, output: Path, path: str, who: Principal) -> bool:
    """Return whether this file, if it is there, is for them. Blocks. Raises sqlite3.Error."""
    if who.administers:
        return True
    if not served(path):
        return False
    audiences = [audience for (audience,) in connection.execute(_RECORDED_FOR, (path,))]
    if not audiences:
        job_id = _job_above(connection, output, path)
        audiences = [] if job_id is None else [read_audiences(connection, [job_id]).get(job_id)]
    # Two jobs of the predecessor may have recorded one path: nobody can tell whose bytes it has now.
    return bool(audiences) and all(audience in (EVERYBODY, who.user) for audience in audiences)


def _job_above(connection: sqlite3.Connection, output: Path, path: str) -> str | None:
    """Return the job that has the deepest marked directory above a path; without any marker, the one jobs.db has."""
    directories = path.split("/")[:-1]
    for depth in range(len(directories), 0, -1):
        try:
            job_id = base_dirs.owner_of(output, "/".join(directories[:depth]))
        except OSError:  # it cannot be read now: nobody knows whose it is
            return None
        if job_id is not None:
            return job_id
    recorded = read_owner(connection, "/".join(directories))
    return None if recorded is None else recorded[0]
