"""The directory of a job: who gets which, whose one is, and where an old job's lies.

Lives here: the claim, the marker (a file `.job` with the job's id, from the claim to the removal), the resolution.
Paths are relative to the output root, with forward slashes; no symbolic link below the root is ever followed.
Does not live here: what is inside (`shared.layout`), and removing it with its content (`services.library.removal`).

Base directories never share a path and never nest, even if two processes claim at once: a claim first makes its
directory and marks it, then looks for a marker above it and for anything beside its own marker in it. Of two claims
that would nest at least one sees the other, and goes elsewhere.
"""

import errno
import os
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from shared.below import NOT_SUCH, NOT_THERE, directory_at, directory_below, names_at, parts_of, read_at, write_at
from shared.curation import RESERVED_DIRECTORIES

MARKER = ".job"
POINTERS = "jobs"
TARGET = "target.txt"

CLAIM_ROUNDS = 8
_MARKER_BYTES = 256
_NOBODY_WE_KNOW = "?"
_TARGET_BYTES = 16 * 1024
_VIDEO = (".mkv", ".mp4")


def marker_of(base: int) -> str | None:
    """Return the id in the marker of an open directory, None if it has none. Raises OSError.

    What is no marker of ours makes the directory somebody else's all the same.
    """
    try:
        return read_at(base, MARKER, _MARKER_BYTES).decode(errors="replace").strip() or _NOBODY_WE_KNOW
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in NOT_SUCH:
            return _NOBODY_WE_KNOW
        raise


def owner_of(output: Path, base_dir: str) -> str | None:
    """Return the job that a directory belongs to; None if it is nobody's or not there. Raises OSError."""
    try:
        if is_reserved(base_dir):
            return None
        with directory_below(output, base_dir) as base:
            return marker_of(base)
    except OSError as error:
        if error.errno in NOT_THERE:
            return None
        raise


def is_reserved(base_dir: str) -> bool:
    """Return whether this can be nobody's: the output root itself, or what is the installation's own."""
    return not base_dir or base_dir.partition("/")[0].lower() in RESERVED_DIRECTORIES


def claim(output: Path, job_id: str, stem: str, project_subdir: str = "") -> str:
    """Create and mark a directory of this job alone: `<project_subdir>/<stem>`, or the job's own variant of it.

    The file system decides what is the same name. A second claim of the same job shares the job's variant.
    Raises OSError, FileExistsError if every variant is somebody else's.
    """
    output.mkdir(parents=True, exist_ok=True)
    for _ in range(CLAIM_ROUNDS):
        group = _group(output, job_id, project_subdir)
        for name in _variants(stem, job_id, at_root=not group):
            base_dir = posixpath.join(group, name)
            if not _made(output, group, name, job_id):
                if name != stem and owner_of(output, base_dir) == job_id:
                    return base_dir
            elif _is_alone(output, base_dir):
                return base_dir
            else:
                release(output, job_id, base_dir)
                break
    raise FileExistsError(f"no directory for {stem}")


def _variants(name: str, job_id: str, *, at_root: bool) -> Iterator[str]:
    if not (at_root and is_reserved(name)):
        yield name
    yield f"{name}-{job_id[-12:]}"
    yield f"{name}-{job_id}"


def _group(output: Path, job_id: str, project_subdir: str) -> str:
    """Create what is missing of a project's directory, and return it; around what is no group, a variant."""
    group = ""
    for part in parts_of(project_subdir):
        for name in (part, f"{part}-project", *_variants(part, job_id, at_root=not group)):
            candidate = posixpath.join(group, name)
            if not is_reserved(candidate) and _is_group(output, group, name):
                group = candidate
                break
        else:
            raise FileExistsError(f"no directory for {project_subdir}")
    return group


def _is_group(output: Path, group: str, name: str) -> bool:
    """Return whether this is, or now is, a directory that belongs to no job."""
    try:
        with directory_below(output, group) as above:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=above)
            with directory_at(above, name) as directory:
                return marker_of(directory) is None
    except OSError as error:
        if error.errno in NOT_THERE:  # a file, or a link
            return False
        raise


def _made(output: Path, group: str, name: str, job_id: str) -> bool:
    """Create and mark a directory; False if there is something of that name already."""
    with directory_below(output, group) as above:
        try:
            os.mkdir(name, dir_fd=above)
        except FileExistsError:
            return False
        try:
            with directory_at(above, name) as base:
                write_at(base, MARKER, f"{job_id}\n".encode())
            os.fsync(above)
        except OSError:
            release(output, job_id, posixpath.join(group, name))
            raise
    return True


def _is_alone(output: Path, base_dir: str) -> bool:
    """Return whether a new base directory has nothing in it, and is in no other job's."""
    with directory_below(output, base_dir) as base:
        return names_at(base) == [MARKER] and not _is_nested(output, base_dir)


def _is_nested(output: Path, base_dir: str) -> bool:
    parts = base_dir.split("/")
    return any(owner_of(output, "/".join(parts[:depth])) is not None for depth in range(1, len(parts)))


def mark(output: Path, job_id: str, base_dir: str) -> bool:
    """Make sure that the job has this directory, which may be old and without a marker, or gone.

    False if it is another job's, inside of another job's, or no directory of this output root. Raises OSError.
    """
    try:
        if is_reserved(base_dir) or _is_nested(output, base_dir):
            return False
        *group, name = parts_of(base_dir)
        for depth, part in enumerate([*group, name]):
            with directory_below(output, "/".join(group[:depth])) as above, suppress(FileExistsError):
                os.mkdir(part, dir_fd=above)
        with directory_below(output, base_dir) as base:
            owner = marker_of(base)
            if owner is None:
                write_at(base, MARKER, f"{job_id}\n".encode())
            return owner in (None, job_id)
    except OSError as error:
        if error.errno in NOT_THERE:  # a file or a link is in the way
            return False
        raise


def release(output: Path, job_id: str, base_dir: str) -> None:
    """Take back a claim: the marker goes, and the directory if it is empty then. What somebody put in stays.

    Raises OSError.
    """
    group, _, name = base_dir.rpartition("/")
    with suppress(FileNotFoundError), directory_below(output, group) as above:
        with directory_at(above, name) as base:
            owner = marker_of(base)
            if owner == job_id:
                os.unlink(MARKER, dir_fd=base)
        if owner in (None, job_id):
            try:
                os.rmdir(name, dir_fd=above)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise


def resolve(output: Path, job_id: str, recorded: Sequence[str], stem: str) -> str | None:
    """Return where a job's directory is: what its pointer says, else the parent of its video, else `<stem>`.

    `recorded` are paths of its outputs, relative to the output root, or absolute ones of whatever machine wrote them;
    of those, the ends are looked for below this root. What is not there, or another job's, is passed over. None if
    nothing is left. Raises OSError.
    """
    videos = sorted((path for path in recorded if path.endswith(_VIDEO)), key=lambda path: path.count("/"))
    for path in (_pointed_at(output, job_id), *map(posixpath.dirname, videos), stem):
        for base_dir in _places(output, path):
            if base_dir and not is_reserved(base_dir) and _may_be_of(output, base_dir, job_id):
                return base_dir
    return None


def _pointed_at(output: Path, job_id: str) -> str:
    try:
        with directory_below(output, f"{POINTERS}/{job_id}") as pointer:
            return read_at(pointer, TARGET, _TARGET_BYTES).decode(errors="replace").rstrip("\r\n")
    except OSError as error:
        if error.errno in NOT_SUCH:
            return ""
        raise


def _places(output: Path, path: str) -> Iterator[str]:
    """Yield where a path may be below the output root; of one from elsewhere its ends, the longest first."""
    if not path.startswith("/"):
        yield path
        return
    for root in (output, output.absolute(), output.resolve()):
        if path.startswith(f"{root}/"):
            yield path.removeprefix(f"{root}/").strip("/")
            return
    parts = path.strip("/").split("/")
    yield from ("/".join(parts[start:]) for start in range(len(parts)))


def _may_be_of(output: Path, base_dir: str, job_id: str) -> bool:
    """Return whether this is a directory, and no other job's."""
    try:
        with directory_below(output, base_dir) as base:
            return marker_of(base) in (None, job_id)
    except OSError as error:
        if error.errno in NOT_THERE:
            return False
        raise
