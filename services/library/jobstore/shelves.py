"""Whose jobs a list may show, as the index and the counting tables have them: a reader's list is one shelf or two.

Lives here: the names of the shelves and which of them a filter means. Pure. Does not live here: what puts a job on a
shelf (`derivation`), the statements of a page (`plans`).

A job stands on the shelf of everything, on that of its audience (its owner's, while it is private, or everybody's),
and, while it is shared, on that of what its owner shares. So the shelves of one list never have a job in common, and
the exact size of each, in every combination of state, project, mode, tag and archive, is counted beforehand.
"""

from dataclasses import dataclass

from services.library.jobstore.filters import JobFilter
from shared.access.principal import EVERYBODY

EVERYTHING_NAME = ""
SEEN_PREFIX = "@"
"""Before an audience: what a private job's owner, or everybody, sees."""
SHARED_PREFIX = "+"
"""Before an owner: what this one shares with everybody."""


@dataclass(frozen=True)
class Shelf:
    """`name` in the counting tables; `indexes` begins the names of its indexes, whose first `column` has `value`.

    `is_shared`: they are partial, of shared jobs alone.
    """

    name: str
    indexes: str = ""
    column: str | None = None
    value: str = ""
    is_shared: bool = False


EVERYTHING = Shelf(EVERYTHING_NAME)


def seen_by(audience: str) -> Shelf:
    """Return the shelf of the jobs that are for one owner alone, or for everybody (`EVERYBODY`)."""
    return Shelf(f"{SEEN_PREFIX}{audience}", "audience_", "audience", audience)


def shared_by(owner: str) -> Shelf:
    """Return the shelf of the jobs that an owner shares."""
    return Shelf(f"{SHARED_PREFIX}{owner}", "shared_", "owner", owner, is_shared=True)


def shelves_of(wanted: JobFilter) -> tuple[Shelf, ...]:
    """Return the shelves that together have the jobs of a filter's reader, owner and `shared`."""
    if wanted.shared:
        return (shared_by(wanted.owner) if wanted.owner is not None else seen_by(EVERYBODY),)
    if wanted.owner is not None:
        hidden = wanted.reader is not None and wanted.reader != wanted.owner
        return (shared_by(wanted.owner),) if hidden else (seen_by(wanted.owner), shared_by(wanted.owner))
    return (EVERYTHING,) if wanted.reader is None else (seen_by(wanted.reader), seen_by(EVERYBODY))
