"""Removing what is not kept of a job that has ended, and nothing else.

Lives here: doing what `shared.job.kept` says; synchronous. It may be cut off anywhere and done again, any number of
times. Does not live here: when (`deletion`), and the files of deleted jobs (`removal`).

Files that another job re-used are links of its own to the same bytes: here only this job's go.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from services.library.removal import NotOursError, Removal, in_steps, remove_entry, remove_source
from shared.base_dirs import is_reserved, marker_of
from shared.below import directory_at, directory_below, names_at
from shared.job.kept import goes_from_base, goes_from_work, source_goes
from shared.job.model import Job
from shared.layout import WORK, Layout


def clear(layout: Layout, job: Job) -> Removal:
    """Remove what goes of a job in its state.

    Raises OSError, when all else is done, for what a later try may overcome.
    """
    source = job.submitted.source.path if source_goes(job) else ""
    return in_steps(
        lambda: _clear_work(layout, job),
        lambda: _clear_base(layout, job),
        lambda: remove_source(layout, source),
    )


def _clear_work(layout: Layout, job: Job) -> bool:
    with _its_directory(layout, job) as base, directory_at(base, WORK) as work:
        with directory_at(work, job.id) as own:
            removed = _remove_those(own, partial(goes_from_work, job.submitted.keeping, job.state))
        with suppress(OSError):  # something is kept
            os.rmdir(job.id, dir_fd=work)
            os.rmdir(WORK, dir_fd=base)
    return removed


def _clear_base(layout: Layout, job: Job) -> bool:
    with _its_directory(layout, job) as base:
        return _remove_those(base, partial(goes_from_base, job.submitted.keeping, job.state))


@contextmanager
def _its_directory(layout: Layout, job: Job) -> Iterator[int]:
    base_dir = job.submitted.base_dir
    if is_reserved(base_dir):
        raise NotOursError("the base directory is the installation's own")
    with directory_below(layout.output, base_dir) as base:
        if marker_of(base) != job.id:
            raise NotOursError("the base directory is not marked as the job's")
        yield base


def _remove_those(directory: int, goes: Callable[[str], bool]) -> bool:
    """Remove the entries of an open directory that go, durably; return whether there were any."""
    names = [name for name in names_at(directory) if goes(name)]
    for name in names:
        with suppress(FileNotFoundError):
            remove_entry(directory, name)
    os.fsync(directory)
    return bool(names)
