"""The media check, in a child process: a hostile file can cost a process, never the service.

Lives here: starting, bounding and ending it, and the plain bytes that it gets of an encrypted file. Does not live here:
the policy (`shared.media_check`).
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from pathlib import Path

import structlog
from pydantic import ValidationError

from services.ingest.storage import disk_errors
from shared.media_policy import MediaLimits
from shared.media_verdict import CheckedMedia, Verdict
from shared.problems import Problem
from shared.threads import made_in_thread

OPEN_FILES = Path("/proc/self/fd")

log = structlog.get_logger()


async def check(plain: AbstractContextManager[Path], limits: MediaLimits, timeout_s: float) -> CheckedMedia:
    """Return what is in the file whose plain bytes `plain` gives a path to.

    The child, and the plain bytes of an encrypted file, are gone when this returns, raises or is cancelled. The child
    gets the open file: no name of anybody's choice is in an argument list, and what is checked is what was opened.
    Raises Problem 422 with the check's code, 507 without room for the plain bytes, 500 if the check itself broke;
    SealError and OSError.
    """
    async with _entered(plain) as path:
        return await _check(path, limits, timeout_s)


@contextlib.asynccontextmanager
async def _entered(plain: AbstractContextManager[Path]) -> AsyncIterator[Path]:
    """Enter in a thread: decrypting a film takes seconds. Whoever is cancelled meanwhile leaves nothing open."""
    entering = asyncio.ensure_future(asyncio.to_thread(plain.__enter__))
    try:
        with disk_errors():
            path = await asyncio.shield(entering)
    except asyncio.CancelledError:
        entering.add_done_callback(lambda done: done.exception() or plain.__exit__(None, None, None))
        raise
    try:
        yield path
    finally:
        plain.__exit__(None, None, None)


async def _check(path: Path, limits: MediaLimits, timeout_s: float) -> CheckedMedia:
    # Without O_NONBLOCK, opening a FIFO in the input folder would wait for its writer.
    fd = await made_in_thread(lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), os.close)
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "shared.media_check", f"/proc/self/fd/{fd}", *_arguments(limits),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            pass_fds=(fd,),
        )  # fmt: skip
    finally:
        os.close(fd)
    try:
        async with asyncio.timeout(timeout_s):
            answer, complaints = await child.communicate()
    except TimeoutError as error:
        detail = "The file takes too long to examine. Re-encode it, for instance as mp4, and try again."
        raise Problem(422, "media_check_timeout", detail) from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()  # its own ffmpeg dies with it (shared.confine)
        await child.wait()
    try:
        verdict = Verdict.model_validate_json(answer)
    except ValidationError as error:
        log.error("media_check_broken", returncode=child.returncode, stderr=complaints[-2000:].decode(errors="replace"))
        raise Problem(
            500, "media_check_failed", "The media check itself failed; the service's log says more."
        ) from error
    if verdict.refused is not None:
        raise Problem(422, verdict.refused["code"], verdict.refused["message"])
    assert verdict.media is not None
    return verdict.media


def _arguments(limits: MediaLimits) -> list[str]:
    numbers = (limits.max_minutes, limits.max_width, limits.max_height, limits.max_pixels)
    names = ("--max-minutes", "--max-width", "--max-height", "--max-pixels")
    return [word for name, number in zip(names, numbers, strict=True) for word in (name, str(number))]
