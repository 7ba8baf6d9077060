"""Who waits for whom when the processors are full.

Lives here: stepping back. Media work takes every processor for minutes; a service that answers requests must not
have to wait for its turn behind it.
"""

import contextlib
import os
from pathlib import Path

NICE = 10
"""Of nice(1): about a tenth of the share of a process that did not step back."""
AUTOGROUP = Path("/proc/self/autogroup")
"""sched(7): where the kernel groups by session, a process is nice only to its own group."""


def yield_to_services() -> None:
    """Let this process and all that it starts give way to those that answer requests. Once is enough.

    The leader of a session lets the whole session give way.
    """
    os.nice(max(0, NICE - os.nice(0)))
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # a kernel without groups, or a container that may not
            AUTOGROUP.write_text(str(NICE))
