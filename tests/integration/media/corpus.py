"""Hostile files through the media check, one after another, in a process whose children's memory is measured.

`python -m tests.integration.media.corpus VARIANT PATH...` prints a line for each file (the code of the refusal,
`accepted`, or `broken: ...` for anything that would be the service's fault), the seconds it took, and at the end the
largest memory of any child, in KiB. Only programs that are direct children are counted: not those behind bubblewrap.
"""

import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

from shared.ffmpeg import Ffmpeg
from shared.media_check import check_media
from shared.media_policy import MediaLimits, MediaRefused
from shared.sandbox.choice import Wanted


def verdict(path: Path, ffmpeg: Ffmpeg) -> str:
    try:
        check_media(path, MediaLimits(120), ffmpeg)
    except MediaRefused as refusal:
        return refusal.code
    except Exception as error:  # noqa: BLE001 -- what the corpus is looking for
        return f"broken: {error!r}"
    return "accepted"


if __name__ == "__main__":
    tools = replace(Ffmpeg.find(), wanted_sandbox=cast("Wanted", sys.argv[1]))
    for name in sys.argv[2:]:
        started = time.monotonic()
        told = verdict(Path(name), tools)
        sys.stdout.write(f"{told}\t{time.monotonic() - started:.2f}\n")
    sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}\n")
