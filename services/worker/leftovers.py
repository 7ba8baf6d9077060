"""What a stage's process leaves behind when it is killed, and how it goes away.

Lives here: rooms, which are directories that belong to one child: its TMPDIR (libraries unpack files there), and the
journal of its unpublished files (`shared.artifacts`). The parent empties them when the child has ended. The rooms of a
worker that was killed itself are found by the next worker that starts a child: a lock, which the kernel drops with its
holder, says whose are still in use. So nobody's live file is ever taken for a leftover, and no library is walked.
TMPDIR is not below the data directory: that may be on a volume from which no library can be loaded, and its path may
be too long for espeak.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from shared.artifacts import sweep
from shared.layout import Layout

PREFIX = "dubline-worker-"
LOCK = "lock"


class Room:
    """A new directory below `root`, its owner's until it is left or the process ends."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=root))
        self._held = _lock(made)  # none on a volume without locks, where nobody else gets one either
        self.path = made.rename(made.with_name(made.name.removeprefix(".")))  # only now can it be taken for abandoned

    def leave(self) -> None:
        """Remove it."""
        _clear(self.path)
        if self._held is not None:
            os.close(self._held)


class Rooms:
    """The rooms of one child. Raises OSError, for instance on a full disk."""

    def __init__(self, layout: Layout) -> None:
        roots = Path(tempfile.gettempdir()), layout.in_flight
        for root in roots:
            sweep_abandoned(root)
        self._temporary = Room(roots[0])
        try:
            self._journal = Room(roots[1])
        except OSError:
            self._temporary.leave()
            raise

    @property
    def environment(self) -> Mapping[str, str]:
        """What tells the child."""
        return {"TMPDIR": str(self._temporary.path), "DUBLINE_JOURNAL_DIR": str(self._journal.path)}

    def leave(self) -> None:
        """Remove them and all that the child left; it has ended."""
        self._temporary.leave()
        self._journal.leave()


def sweep_abandoned(root: Path) -> None:
    """Remove the rooms whose process is gone, and what their journals name."""
    for path in root.glob(f"{PREFIX}*"):
        if _is_ours(path) and (held := _lock(path)) is not None:
            _clear(path)
            os.close(held)


def _is_ours(path: Path) -> bool:
    """Return whether it is a directory of this user: the root may be everybody's."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _lock(room: Path) -> int | None:
    """Return a descriptor that holds the room as long as it is open, None if another process lives in it."""
    try:
        held = os.open(room / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        return None
    return held


def _clear(room: Path) -> None:
    sweep(room)
    shutil.rmtree(room, ignore_errors=True)
