"""A job's log: a line for each thing that a person would ask about a stage, in `job.log` of its base directory.

Lives here: the lines, and a file that grows to a limit, is rotated once, and never fails a stage. Lines say times,
names, counts and codes, never text of the video (E8). Does not live here: who reads it (`services.library.logs`).
"""

import contextlib
import fcntl
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from services.worker.messages import CANCELED, Failed, Finished
from shared.commands import StageCommand

LOG_MAX_BYTES = 5 << 20
"""A log that would grow beyond becomes `job.log.1`, in the place of the one before."""

MESSAGE_MAX = 500
SAME_WORDS_EVERY_S = 10.0
"""Progress whose words are the same, numbers aside, is written this often."""

Level = Literal["info", "warning", "error"]
_NUMBERS = re.compile(r"\d+")


def append(path: Path, line: bytes) -> None:
    """Append a line at once, follow no link and make no directory. Raises OSError."""
    with _opened(path) as fd:
        if os.fstat(fd).st_size + len(line) <= LOG_MAX_BYTES:
            os.write(fd, line)
            return
        _rotate(path, fd)
    with _opened(path) as fd:
        os.write(fd, line)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(path, flags, 0o644)
    try:
        yield fd
    finally:
        os.close(fd)


def _rotate(path: Path, fd: int) -> None:
    """Move the full log away, unless another process is doing it or has done it: a stopped one must not stop us."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the descriptor
        if os.path.samestat(os.fstat(fd), path.lstat()):
            path.replace(path.with_name(path.name + ".1"))


class StageLog:
    """What one try of a stage writes to its job's log. Nothing of it raises."""

    def __init__(self, path: Path, command: StageCommand, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._stage = command.stage
        self._attempt = command.attempt
        self._run = command.run
        self._clock = clock
        self._words: str | None = None
        self._told_at = 0.0

    def started(self) -> None:
        """Write that the stage begins."""
        self._write("info", f"started: run {self._run}, attempt {self._attempt}")

    def progress(self, fraction: float, message: str) -> None:
        """Write how far the stage is (0..1), where its words are new or some time has passed."""
        words = _NUMBERS.sub("#", message)
        if words != self._words or self._clock() - self._told_at >= SAME_WORDS_EVERY_S:
            self._words, self._told_at = words, self._clock()
            self._write("info", f"{100 * fraction:.0f} % {message}".rstrip())

    def ended(self, outcome: Finished | Failed) -> None:
        """Write what came of it."""
        if isinstance(outcome, Failed):
            level: Level = "info" if outcome.code == CANCELED else "error"
            engine = f" ({outcome.engine})" if outcome.engine else ""
            again = "may be tried again" if outcome.retryable else "another try would not help"
            self._write(level, f"failed: {outcome.code}{engine}: {outcome.message} [{again}]")
            return
        for code, count in Counter(issue.code for issue in outcome.issues).items():
            self._write("warning", f"issue: {code}" + (f", {count} times" if count > 1 else ""))
        timings = outcome.timings
        if outcome.reused_from:
            self._write("info", f"done in {timings.total_s:.1f} s: the same as in job {outcome.reused_from}")
        else:
            spent = f"{timings.total_s:.1f} s (loading {timings.load_s:.1f} s, work {timings.engine_s:.1f} s)"
            used = outcome.engine
            self._write("info", f"done in {spent} by {used.name} {used.version} on {used.device}")

    def _write(self, level: Level, message: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        text = " ".join(message.split())[:MESSAGE_MAX]
        with contextlib.suppress(OSError):  # a full disk is the stage's to tell; the job may have been deleted
            append(self._path, f"{now} {self._stage} {level} {text}\n".encode(errors="replace"))
