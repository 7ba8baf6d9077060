"""What lies in the server's own input folder, one directory at a time.

Lives here: listing it without following a link. Blocks. Does not live here: taking a file from there
(`services.ingest.storage`).
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from shared.below import NOT_THERE, directory_below, names_at
from shared.layout import Layout
from shared.problems import Problem

ITEMS_MAX = 200
EXTENSIONS = frozenset({".mp4", ".mkv", ".mov", ".webm", ".m4v", ".avi", ".ts", ".m2ts", ".ogv"})
"""Of the containers that the media check lets through."""
HIDDEN = frozenset({"uploads", "imports"})
"""Below the root: the installation's own."""


@dataclass(frozen=True)
class Item:
    """A directory or a video; `path` is what a submission names, `mtime` Unix seconds."""

    type: Literal["dir", "file"]
    name: str
    path: str
    size_bytes: int
    mtime: float


def list_input(layout: Layout, directory: str) -> tuple[list[Item], bool]:
    """Return up to 200 items, directories first, and whether there are more.

    Raises Problem 404 for what is no directory in there, OSError.
    """
    try:
        with directory_below(layout.input, directory) as opened:
            items = list(_items(opened, directory))
    except OSError as error:
        if error.errno in NOT_THERE and (directory or layout.input.exists()):
            raise Problem(404, "directory_not_found", "There is no such directory in the input folder.") from error
        if error.errno in NOT_THERE:
            return [], False  # nobody has made the folder yet
        raise
    items.sort(key=lambda item: (item.type != "dir", item.name.casefold(), item.name))
    return items[:ITEMS_MAX], len(items) > ITEMS_MAX


def _items(opened: int, directory: str) -> Iterator[Item]:
    for name in names_at(opened):
        if name.startswith(".") or not name.isprintable() or (not directory and name in HIDDEN):
            continue
        try:
            found = os.stat(name, dir_fd=opened, follow_symlinks=False)
        except FileNotFoundError:  # gone since
            continue
        path = f"{directory}/{name}" if directory else name
        if stat.S_ISDIR(found.st_mode):
            yield Item("dir", name, path, 0, found.st_mtime)
        elif stat.S_ISREG(found.st_mode) and os.path.splitext(name)[1].lower() in EXTENSIONS:  # noqa: PTH122 -- a name
            yield Item("file", name, path, found.st_size, found.st_mtime)
