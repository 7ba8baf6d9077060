"""The bubblewrap variant: name spaces with nothing in them but the program.

Lives here: finding bwrap and its argument list. Does not live here: whether it works (`shared.sandbox.choice`).
"""

import shutil
from pathlib import Path

from shared.sandbox.program import RANDOM, Needs

NAME = "bwrap"


def find() -> Path | None:
    """Return bwrap, or None where it is not installed."""
    path = shutil.which(NAME)
    return Path(path).resolve() if path else None


def arguments(bwrap: Path, needs: Needs, filter_fd: int) -> list[str]:
    """Return what stands before the program: new name spaces of every kind, a read-only root, no capability.

    The environment is not cleared here: the child never gets ours (`shared.ffmpeg_binaries.CHILD_ENV`). There is no
    /tmp: nothing that we run writes one. Descriptors are inherited, and open anew through /proc/self/fd. A loader lies
    among the libraries' directories.
    """
    options = [str(bwrap), "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    for place in (*needs.directories, *needs.files, needs.programs[0]):
        bind = "--dev-bind" if place == RANDOM else "--ro-bind"
        options += [bind, str(place), str(place)]
    options += ["--proc", "/proc", "--remount-ro", "/", "--chdir", "/", "--seccomp", str(filter_fd), "--"]
    return options
