"""Examining videos: a few at a time, everybody's in turn, and the same bytes only once.

Lives here: whose turn it is, and what was found of bytes that came before. Does not live here: the check (`media`), and
what is made of what it finds (`submission`).

A check reads the whole file and listens to it, which takes seconds of a processor. Whoever submits one film for several
languages, tries again, or asks for an estimate before, brings the same bytes, and what they are does not change.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

from services.ingest import media
from services.ingest.fair_turns import FairTurns, TooManyWaitingError
from shared.media_policy import MediaLimits
from shared.media_verdict import CheckedMedia
from shared.problems import Problem

AT_ONCE = 2
"""Each check may decode a file; more of them at once only slow each other and the stages down."""
WAITING_EACH = 64
"""Videos of one user that may wait for their check, each with its bytes on the disk: more than a batch has."""
RETRY_AFTER_S = 60
REMEMBERED = 256
"""Videos by their SHA-256; a few hundred bytes each."""


class Checks:
    """The checks of one process; `limits` are the same for all of them, so what was found holds as long as it lives."""

    def __init__(self, limits: MediaLimits, timeout_s: float) -> None:
        self._limits = limits
        self._timeout_s = timeout_s
        self._turns = FairTurns(AT_ONCE, WAITING_EACH)
        self._found: dict[str, CheckedMedia] = {}
        """The one that was asked for last is the last one."""

    def known(self, sha256: str | None) -> CheckedMedia | None:
        """Return what was found of these bytes before. Nothing is known of refused ones: they are examined again."""
        if sha256 is None or (found := self._found.pop(sha256, None)) is None:
            return None
        self._found[sha256] = found
        return found

    @asynccontextmanager
    async def turn(self, user: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it in the block. Raises Problem 503 where too many of the user's wait already."""
        try:
            async with self._turns.turn(user):
                yield
        except TooManyWaitingError as error:
            detail = f"{error.waiting} of your videos are waiting to be examined. Submit this one when these are done."
            raise Problem(503, "too_many_checks", detail, headers={"Retry-After": str(RETRY_AFTER_S)}) from error

    async def examined(self, user: str, plain: AbstractContextManager[Path], sha256: str | None = None) -> CheckedMedia:
        """Return what is in a video, after waiting for a turn. Raises as `turn` and `examine`."""
        if found := self.known(sha256):
            return found
        async with self.turn(user):
            return await self.examine(plain, sha256)

    async def examine(self, plain: AbstractContextManager[Path], sha256: str | None) -> CheckedMedia:
        """Return what is in a video, of `sha256` if that is known; the caller has a turn. Raises as `media.check`."""
        if found := self.known(sha256):
            return found
        found = await media.check(plain, self._limits, self._timeout_s)
        if sha256 is not None:
            self._found[sha256] = found
            if len(self._found) > REMEMBERED:
                del self._found[next(iter(self._found))]
        return found
