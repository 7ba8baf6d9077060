"""What a service that handles media does about the sandbox once, when it starts.

Lives here: saying in the log which it is, and holding on to it. Does not live here: the trial
(`shared.sandbox.choice`).
"""

import os
import sys

import structlog

from shared.ffmpeg_binaries import FfmpegMissingError, find_binary
from shared.sandbox.choice import VARIABLE, chosen, wanted
from shared.sandbox.errors import SandboxUnavailableError

EX_CONFIG = 78

log = structlog.get_logger()


def settle_sandbox() -> None:
    """Log the sandbox that media tools run in, and make it the one that every child of this process must use.

    So a trial that fails later, for want of memory for instance, makes nobody use a weaker one. Ends the process with
    78 if the wanted one does not work. Without ffmpeg nothing is settled: whoever needs it says what is missing.
    """
    try:
        programs = find_binary("ffprobe", os.environ), find_binary("ffmpeg", os.environ)
        found = chosen(wanted(os.environ), programs)
    except FfmpegMissingError as error:
        log.warning("media_sandbox_unknown", detail=str(error))
        return
    except SandboxUnavailableError as error:
        log.error("refused_sandbox", detail=str(error))
        sys.exit(EX_CONFIG)
    os.environ[VARIABLE] = found.variant
    tell = log.warning if found.variant == "limits" else log.info
    tell("media_sandbox", variant=found.variant, detail=found.words)
