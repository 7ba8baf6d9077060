"""Which jobs a list is about: the one filter of the API, the pages and the CLI.

Lives here: the value. Does not live here: its SQL (`queries`), parameters of HTTP (`services.library.routes.jobs`).
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class JobFilter:
    """Jobs that meet all that is given; None asks nothing."""

    state: str | None = None
    text: str | None = None
    """A substring, any case, of id, title, project name or tags: the parameter `q`."""
    project: str | None = None
    """A substring, any case, of the project's name."""
    mode: str | None = None
    tag: str | None = None
    """One whole tag, in lower case."""
    include_archived: bool = False
    reader: str | None = None
    """Who reads: a user sees the own jobs and the shared ones. None is an administrator, who sees all."""
    owner: str | None = None
    """Only jobs of this user."""
    shared: bool = False
    """Only jobs that everybody sees."""


EVERY_JOB = JobFilter()


@dataclass(frozen=True)
class PageQuery:
    """Which page of them, newest first: below the place `before` if given, then `offset` skipped."""

    limit: int
    offset: int = 0
    before: int | None = None
    filter: JobFilter = field(default_factory=JobFilter)


@dataclass(frozen=True)
class Page:
    """Stored rows by job id; `next_before` continues after the last one, None at the end; `total` is exact."""

    rows: list[tuple[str, bytes]]
    total: int
    next_before: int | None
