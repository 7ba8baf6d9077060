"""What of a job is kept once it has ended, as its submission chose.

Lives here: the value. Does not live here: what a request says for it (`services.ingest.keeping`), which files go and
when (`shared.job.kept`), and removing them (`services.library.clearing`).
"""

from typing import Literal

from shared.events.envelope import Data

CachePolicy = Literal["full", "balanced", "minimal"]


class Keeping(Data):
    """Everything is kept unless a submission says otherwise; what is False is gone soon after the job's end."""

    cache: CachePolicy = "full"
    """What stages handed to each other: all of it; all but the sound, which is large and can be made again; nothing."""
    transcript: bool = True
    """False: no file has a text of what was said, and the finished videos have no subtitles."""
    source_audio: bool = True
    """False: the sound that was taken out of the video goes; the finished videos have it still."""
    logs: bool = True
    private: bool = False
    """The video's name is written nowhere, and the uploaded video goes when its dub is done."""

    @property
    def everything(self) -> bool:
        return self == KEEP_ALL


KEEP_ALL = Keeping()
PRIVATE = Keeping(cache="minimal", transcript=False, source_audio=False, logs=False, private=True)
