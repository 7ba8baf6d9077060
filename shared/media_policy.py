"""The limits on an untrusted video: what is refused for what it says it is, and for what was found in it.

Lives here: the limits and pure judgements on what ffprobe told. Does not live here: asking it (`shared.media_probe`),
the order of the checks (`shared.media_check`).

A file is judged by its content alone. Its name's suffix and the type that a client names are not looked at: the
predecessor refused by them, which kept out good films with unusual names and let bad ones with usual names go on.
"""

from dataclasses import dataclass

from shared.media_inputs import MAX_PIXELS
from shared.media_probe import Demuxed, MediaInfo, StreamInfo

VIDEO_CONTAINERS = frozenset({"mov", "matroska", "avi", "mpegts"})
AUDIO_CONTAINERS = frozenset({"mp3", "wav", "w64", "flac", "ogg"})
DECLARING_CONTAINERS = frozenset({"mov", "matroska", "avi"})
"""Those whose header states a length that can be relied on; transport streams and mp3 have ffmpeg's guess."""
MAX_STREAMS = 32
MAX_FPS = 240.0
MAX_CHANNELS = 16
"""Limits from the hardening page of the design."""
MAX_SAMPLE_RATE = 768_000
"""Hertz; the highest rate of any recorder on sale. A resampler's tables grow with it."""
MIN_DURATION_S = 0.5
MIN_BIT_RATE = 1_000.0
MAX_BIT_RATE = 10e9
"""Bits per second over the whole file: less than the thinnest speech codec alone, and more than any codec makes of 8K
at 60 frames. Beyond either the times in the file are invented."""
TRUNCATION_TOLERANCE_S = 0.5
"""Containers state a length that may exceed the last packet by a frame or an encoder's padding, never by so much."""
TRUNCATION_SIGNS = ("partial file", "File ended prematurely", "moov atom not found", "truncat")
"""What the demuxers say of a file that ends too early."""
OVERSIZE_SIGN = "exceeds specified max pixel count"


class MediaRefused(Exception):  # noqa: N818 -- a verdict, not a fault
    """The file will not be dubbed; `code` is stable, `message` says what is wrong and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class MediaLimits:
    """What an installation allows: minutes, and pixels of width, height and both together (0: only what 8K has)."""

    max_minutes: float
    max_width: int = 0
    max_height: int = 0
    max_pixels: int = 0


def tracks_of(info: MediaInfo) -> tuple[StreamInfo, StreamInfo]:
    """Return the picture and the sound to dub. Raises MediaRefused."""
    if len(info.streams) > MAX_STREAMS:
        raise MediaRefused("too_many_streams", f"The file has {len(info.streams)} tracks; at most {MAX_STREAMS}.")
    if info.video is None:
        raise MediaRefused("no_video", "The file has no video track: dubbing needs a picture.")
    if info.audio is None:
        raise MediaRefused("no_audio", "The file has no audio track: there is nothing to dub.")
    return info.video, info.audio


def refuse_declared_excess(info: MediaInfo, video: StreamInfo, audio: StreamInfo, limits: MediaLimits) -> None:
    """Judge what the header alone says, before the file is read. Raises MediaRefused."""
    if info.container in DECLARING_CONTAINERS:
        refuse_length(info.duration_s or 0.0, limits)
    _refuse_size(video, limits)
    if audio.channels > MAX_CHANNELS:
        raise MediaRefused("too_many_channels", f"The audio has {audio.channels} channels; at most {MAX_CHANNELS}.")
    if audio.sample_rate > MAX_SAMPLE_RATE:
        message = f"The audio has {audio.sample_rate} samples/s; at most {MAX_SAMPLE_RATE}."
        raise MediaRefused("sample_rate_too_high", message)


def refuse_length(seconds: float, limits: MediaLimits) -> None:
    """Raises MediaRefused for a film that is too long."""
    if seconds > limits.max_minutes * 60:
        message = f"The video lasts {seconds / 60:.1f} min; at most {limits.max_minutes:g} are allowed."
        raise MediaRefused("too_long", message)


def _refuse_size(video: StreamInfo, limits: MediaLimits) -> None:
    pixels = video.width * video.height
    if pixels > MAX_PIXELS:
        raise MediaRefused("picture_too_large", "The picture is larger than 8K (7680x4320 pixels).")
    for what, value, limit in (
        ("wide", video.width, limits.max_width),
        ("high", video.height, limits.max_height),
        ("large", pixels, limits.max_pixels),
    ):
        if 0 < limit < value:
            raise MediaRefused("picture_too_large", f"The picture is {value} pixels {what}; at most {limit} here.")


def says_truncated(log: tuple[str, ...]) -> bool:
    """Return whether a demuxer complained of a file that ends too early."""
    return any(sign in line for line in log for sign in TRUNCATION_SIGNS)


def refuse_truncated(info: MediaInfo, found: Demuxed, tracks: tuple[StreamInfo, ...]) -> None:
    """Compare what the file says it holds with what it holds. Raises MediaRefused."""
    ends = [found.spans[track.index].end_s if track.index in found.spans else 0.0 for track in tracks]
    short = info.container in DECLARING_CONTAINERS and (
        max((span.end_s for span in found.spans.values()), default=0.0) + TRUNCATION_TOLERANCE_S
        < (info.duration_s or 0.0)
        or any(
            end + TRUNCATION_TOLERANCE_S < track.start_s + (track.duration_s or 0.0)
            for track, end in zip(tracks, ends, strict=True)
        )
    )
    if short or min(ends) == 0.0 or says_truncated(found.complaints):
        raise MediaRefused("truncated_file", "The file is incomplete: it ends before its declared length.")


def refuse_excess(video: StreamInfo, found: Demuxed, duration_s: float, size: int, limits: MediaLimits) -> None:
    """Judge what was found in a file of `size` bytes. Raises MediaRefused."""
    if duration_s <= MIN_DURATION_S:
        raise MediaRefused("too_short", f"The video lasts {duration_s:.2f} s: there is nothing to dub.")
    longest = max(span.end_s for span in found.spans.values())
    refuse_length(longest, limits)
    if any(OVERSIZE_SIGN in line for line in found.complaints):
        raise MediaRefused("picture_too_large", "The picture is larger than 8K (7680x4320 pixels).")
    if video.width * video.height == 0:
        raise MediaRefused("not_a_video", "The picture's size cannot be read.")
    fps = found.spans[video.index].packets / duration_s
    if fps > MAX_FPS:
        raise MediaRefused("frame_rate_too_high", f"The video has {fps:.0f} frames/s; at most {MAX_FPS:.0f}.")
    if not MIN_BIT_RATE <= (rate := size * 8 / max(duration_s, longest)) <= MAX_BIT_RATE:
        message = f"The file has {rate:.0f} bits for each second that it claims to last: that is no film."
        raise MediaRefused("bit_rate_implausible", message)
