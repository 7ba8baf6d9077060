"""What people do to a job in the library: tags, archive, visibility, deletion. Pure.

Lives here: the commands, the event that each makes or why not. Does not live here: names of tags (`shared.curation`),
and a job's life (`transitions`).
"""

from dataclasses import dataclass
from typing import Any

from shared.events.library import (
    CurationData,
    CurationEvent,
    JobArchived,
    JobDeleted,
    JobDeletedData,
    JobTagged,
    JobTaggedData,
    JobUnarchived,
    JobVisibilityChanged,
    JobVisibilityChangedData,
    Visibility,
)
from shared.job.aggregate import applies
from shared.job.kept import stored_bytes
from shared.job.model import Job
from shared.job.transitions import Context, Refusal, attributes

UNCHANGED = "unchanged"
"""The job is as asked already: no event is needed, and the answer is as if there had been one."""


@dataclass(frozen=True)
class Tag:
    """`tags` are clean (`shared.curation.clean_tags`) and replace all that there are."""

    tags: tuple[str, ...]


@dataclass(frozen=True)
class Archive:
    pass


@dataclass(frozen=True)
class Unarchive:
    pass


@dataclass(frozen=True)
class SetVisibility:
    visibility: Visibility


@dataclass(frozen=True)
class Delete:
    """Of a finished job only; an unfinished one has to be cancelled first."""

    reason: str = ""


CurationCommand = Tag | Archive | Unarchive | SetVisibility | Delete


def curate(job: Job, command: CurationCommand, context: Context) -> CurationEvent | Refusal:
    """Return the event that this command makes of this job, or why there is none.

    The caller appends the event with the job's `version` as the expected sequence of its filter (E2).
    """
    if not job.deleted and _as_asked(job, command):
        return Refusal(UNCHANGED, job.state)
    event = _event(job, command, attributes(job, context))
    return event if applies(job, event) else Refusal("illegal_transition", job.state)


def _as_asked(job: Job, command: CurationCommand) -> bool:
    match command:
        case Tag(tags):
            return list(tags) == job.tags
        case Archive():
            return job.archived_at is not None
        case Unarchive():
            return job.archived_at is None
        case SetVisibility(visibility):
            return visibility == job.visibility
        case Delete():
            return False


def _event(job: Job, command: CurationCommand, shared: dict[str, Any]) -> CurationEvent:
    match command:
        case Tag(tags):
            return JobTagged(**shared, data=JobTaggedData(tags=list(tags)))
        case Archive():
            return JobArchived(**shared, data=CurationData())
        case Unarchive():
            return JobUnarchived(**shared, data=CurationData())
        case SetVisibility(visibility):
            return JobVisibilityChanged(**shared, data=JobVisibilityChangedData(visibility=visibility))
        case Delete(reason):
            submitted = job.submitted
            data = JobDeletedData(
                owner=submitted.owner,
                base_dir=submitted.base_dir,
                source=submitted.source.path,
                stored_bytes=stored_bytes(job),
                reason=reason,
            )
            return JobDeleted(**shared, data=data)
