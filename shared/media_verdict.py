"""What the media check says of a file.

Lives here: the form in which the child tells its parent. Does not live here: the check (`shared.media_check`), whose
libraries a process that answers HTTP need not load.
"""

from pydantic import BaseModel, ConfigDict

from shared.events.types import AudioTrack, VideoTrack


class CheckedMedia(BaseModel):
    """What a submission needs to know of an accepted file; `duration_s` is the picture's end, in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    container: str
    duration_s: float
    video: VideoTrack
    audio: AudioTrack


class Verdict(BaseModel):
    """What the command prints: exactly one of both."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    media: CheckedMedia | None = None
    refused: dict[str, str] | None = None
