"""What a page says of a job that does not keep everything.

Lives here: words for its row's `keeping` (`shared.keeping.Keeping`, as JSON). Does not live here: what goes
(`shared.job.kept`).
"""

from collections.abc import Mapping
from typing import Any

_CACHE = {"balanced": "without the large files between the stages", "minimal": "results only"}


def kept_words(keeping: Mapping[str, Any]) -> str:
    """Return what is kept of a job after its end, as a part of a sentence."""
    if keeping["private"]:
        return "results only, without its name, any text of what was said, and the uploaded video"
    parts = [_CACHE.get(keeping["cache"], "")]
    parts += [] if keeping["transcript"] else ["no text of what was said"]
    parts += [] if keeping["source_audio"] else ["no sound of the source"]
    parts += [] if keeping["logs"] else ["no logs"]
    return ", ".join(filter(None, parts))


def is_sourceless(job: Mapping[str, Any]) -> bool:
    """Return whether a job's video is not here any more, so that it cannot be run again."""
    keeping = job.get("keeping")
    return bool(job["imported"] or (keeping and keeping["private"] and job["state"] == "DONE"))
