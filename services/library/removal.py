"""Removing the files of a deleted job, and of nobody else.

Lives here: the guards and the order of the steps; synchronous. Each step may be cut off and the whole done again, at
any time and any number of times. Does not live here: when (`deletion`), what goes of a job that stays (`clearing`), and
who a directory belongs to (`shared.base_dirs`).

A base directory is moved to the trash in one step, and only then emptied: what is half removed is in nobody's way. Its
marker is the last to go, so that whatever is left still tells whose it is.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import NoReturn

from shared.base_dirs import MARKER, POINTERS, is_reserved, marker_of
from shared.below import NOT_THERE, directory_at, directory_below, names_at, parts_of
from shared.layout import Layout


@dataclass(frozen=True)
class Removal:
    """What was done: whether anything was removed, and what was left although it bears the job's name, with why."""

    removed: bool
    left: tuple[str, ...] = ()


class NotOursError(Exception):
    """A guard said no: this is not, or not only, the job's."""


def remove(layout: Layout, job_id: str, base_dir: str, source: str) -> Removal:
    """Remove a job's base directory, its pointer and its source ("" to keep that).

    `base_dir` is relative to the output root, `source` to the input root. Raises OSError, when all else is done, for
    what a later try may overcome.
    """
    layout.trash.mkdir(parents=True, exist_ok=True)
    return in_steps(
        lambda: _empty_trash(layout, job_id),  # what an earlier try left
        lambda: _move_to_trash(layout, job_id, base_dir),
        lambda: _empty_trash(layout, job_id),
        lambda: _remove_pointer(layout, job_id),
        lambda: remove_source(layout, source),
    )


def in_steps(*steps: Callable[[], bool]) -> Removal:
    """Take each step, whatever became of the others; one returns whether it removed anything. Raises OSError last."""
    removed, left, failed = False, [], None
    for step in steps:
        try:
            removed |= step()
        except FileNotFoundError:
            continue
        except NotOursError as error:
            left.append(str(error))
        except OSError as error:
            if error.errno in NOT_THERE:
                left.append("a link or a file is where a directory should be")
            else:
                failed = failed or error
    if failed:
        raise failed
    return Removal(removed, tuple(dict.fromkeys(left)))


def _move_to_trash(layout: Layout, job_id: str, base_dir: str) -> bool:
    if not base_dir:
        return False
    if is_reserved(base_dir):
        raise NotOursError("the base directory is the installation's own")
    *group, name = parts_of(base_dir)
    with directory_below(layout.output, "/".join(group)) as above, directory_at(above, name) as base:
        _check_ours(base, job_id)
        with _trash(layout) as trash:
            _move(above, name, base, trash, job_id)
    return True


def _check_ours(base: int, job_id: str) -> None:
    """Raise NotOursError unless the marker names the job, and no marker inside names another."""
    if (owner := marker_of(base)) != job_id:
        raise NotOursError("the base directory is another job's" if owner else "the base directory has no marker")
    for inner, _, files, directory in os.fwalk(".", onerror=_fail, dir_fd=base):
        if inner != "." and MARKER in files and marker_of(directory) != job_id:
            raise NotOursError("another job's directory is inside the base directory")


def _fail(error: OSError) -> NoReturn:
    raise error


def _move(above: int, name: str, base: int, trash: int, job_id: str) -> None:
    """Move the open directory `base` into the trash; whatever took its name since we looked goes back."""
    try:
        os.rename(name, job_id, src_dir_fd=above, dst_dir_fd=trash)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _empty(above, name)  # the project's directory is a volume of its own
        return
    moved = os.stat(job_id, dir_fd=trash, follow_symlinks=False)
    if not os.path.samestat(moved, os.fstat(base)):
        os.rename(job_id, name, src_dir_fd=trash, dst_dir_fd=above)
        raise NotOursError("the base directory was exchanged for another")
    os.fsync(trash)
    os.fsync(above)


def _trash(layout: Layout) -> AbstractContextManager[int]:
    return directory_below(layout.output, layout.trash.relative_to(layout.output).as_posix())


def _empty_trash(layout: Layout, job_id: str) -> bool:
    with _trash(layout) as trash:
        with directory_at(trash, job_id) as base:
            if marker_of(base) != job_id and names_at(base):
                raise NotOursError("what lies in the trash is not the job's")
        _empty(trash, job_id)
    return True


def _empty(above: int, name: str) -> None:
    """Remove a directory with all that is in it, its marker last. Links are removed, not followed."""
    with directory_at(above, name) as directory:
        for entry in names_at(directory):
            if entry != MARKER:
                with suppress(FileNotFoundError):
                    remove_entry(directory, entry)
        with suppress(FileNotFoundError):
            os.unlink(MARKER, dir_fd=directory)
    os.rmdir(name, dir_fd=above)


def remove_entry(directory: int, name: str) -> None:
    """Remove a file, a link, or a directory with all that is in it, from an open directory. Raises OSError."""
    if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        shutil.rmtree(name, dir_fd=directory)
    else:
        os.unlink(name, dir_fd=directory)


def _remove_pointer(layout: Layout, job_id: str) -> bool:
    with directory_below(layout.output, POINTERS) as pointers:
        remove_entry(pointers, job_id)
    return True


def remove_source(layout: Layout, source: str) -> bool:
    """Remove an upload: a regular file right below the uploads, nothing else of the input folder. "" is none."""
    if not source:
        return False
    uploads, _, name = source.rpartition("/")
    if uploads != layout.uploads.relative_to(layout.input).as_posix() or name in ("", ".", ".."):
        raise NotOursError("the source is no upload")
    with directory_below(layout.input, uploads) as directory:
        if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise NotOursError("the source is no regular file")
        os.unlink(name, dir_fd=directory)
        os.fsync(directory)
    return True
