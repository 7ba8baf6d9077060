"""Which files belong to which class of encryption at rest.

Lives here: the classes, and the class of a path below the output root. Does not live here: the switch (`keys`).
"""

import re
from typing import Literal, get_args

SealedClass = Literal["uploads", "audio", "transcripts", "outputs"]
"""uploads: the sources. audio: what stages make of their sound, and spoken lines. transcripts: what was said and its
translation. outputs: the finished videos and their subtitles."""
CLASSES: tuple[SealedClass, ...] = get_args(SealedClass)

_WORK = re.compile(r"(?:.+/)?work/[^/]+/(?:takes/)?[^/]+\.(?P<suffix>wav|json)")
_TAKE = re.compile(r"_state/takes/.+\.wav")
_OUTPUT = re.compile(r"(?!_state/|jobs/)(?:.+/)?(?:[^/]+\.dub\.(?:mkv|mp4)|subs/[^/]+\.(?:srt|vtt))")


def class_of(path: str) -> SealedClass | None:
    """Return the class of a path relative to the output root; None for what has nothing of the video in it."""
    if work := _WORK.fullmatch(path):
        return "audio" if work["suffix"] == "wav" else "transcripts"
    if _TAKE.fullmatch(path):
        return "audio"
    return "outputs" if _OUTPUT.fullmatch(path) else None
