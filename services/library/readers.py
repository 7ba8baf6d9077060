"""What one who asks may read: the one judgement over jobs for every read of the library.

Lives here: from a principal to the reader that the job store's filter knows, and whether a row or a folded job is for
them. What is not does not exist for them. Does not live here: who asks (`shared.access`), lists (`jobstore.shelves`),
files (`file_owners`).
"""

from collections.abc import Mapping
from typing import Any

from shared.access.principal import Principal
from shared.job.model import Job


def reader_of(who: Principal) -> str | None:
    """Return whom `JobFilter.reader` means; None for an administrator, who sees all."""
    return None if who.administers else who.user


def sees_row(who: Principal, row: Mapping[str, Any]) -> bool:
    """Return whether a row of jobs.db is for them: a job's, a project's or a preset's.

    A row that names no owner, of a foreign writer, is an administrator's alone, unless it is shared.
    """
    return who.sees(str(row.get("owner_id") or ""), "shared" if row.get("visibility") == "shared" else "private")


def sees_job(who: Principal, job: Job) -> bool:
    """Return whether a job is for them; also of one that was deleted, whose past the log keeps."""
    return who.sees(job.submitted.owner, job.visibility)
