"""The media check, in a child process: a hostile file can cost a process, never the service.

Lives here: starting, bounding and ending it. Does not live here: the policy (`shared.media_check`).
"""

import asyncio
import contextlib
import sys
from pathlib import Path

import structlog
from pydantic import ValidationError

from shared.media_check import CheckedMedia, Verdict
from shared.problems import Problem

log = structlog.get_logger()


async def check(path: Path, max_minutes: int, timeout_s: float) -> CheckedMedia:
    """Return what is in the file. The child is gone when this returns, raises or is cancelled.

    Raises Problem 422 with the check's code, 500 if the check itself broke.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "shared.media_check", path, "--max-minutes", str(max_minutes),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
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
