"""What a media file contains, told by ffprobe.

Lives here: reading ffprobe's answers. Does not live here: judging them (`shared.media_check`).
Times are seconds on the file's own timeline, whose origin (ffmpeg's container start time) is 0 after ffmpeg's default
shift; `start_s` and every span are given relative to that origin.
"""

import json
import math
import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from shared.ffmpeg import Ffmpeg
from shared.media_inputs import FILE, Container, container_of

StreamKind = Literal["video", "audio", "subtitle", "data", "attachment"]

PROBE_ADDRESS_SPACE = 1 << 30
"""ffprobe decodes a few frames to learn their format: an 8K picture takes 200 MiB (measured), and threads map more."""
LANGUAGE_TAG = re.compile(r"[A-Za-z0-9]{2,8}(-[A-Za-z0-9]{1,8}){0,4}")
"""The shape of RFC 5646; a file may hold anything there."""
ENTRIES = (
    "format=start_time,duration:stream_tags=language:stream_disposition=default,attached_pic:"
    "stream=index,codec_type,codec_name,start_time,duration,width,height,pix_fmt,avg_frame_rate,r_frame_rate,"
    "channels,channel_layout,sample_rate"
)
"""All that is asked for: no title, comment or other text that a file carries is ever read."""
DEFAULT_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""ffmpeg's layout for a channel count (libavutil/channel_layout.c, `av_channel_layout_default`)."""


class UnreadableAnswerError(ValueError):
    """What ffprobe told of a file has not the form that it should have; the file made it say so."""


@dataclass(frozen=True)
class StreamInfo:
    """One stream. Fields of the other kinds are empty or 0; `frame_rate` is the average, an exact fraction."""

    index: int
    kind: StreamKind
    codec: str
    start_s: float
    duration_s: float | None
    language: str | None
    default: bool
    attached_picture: bool
    width: int = 0
    height: int = 0
    pixel_format: str = ""
    frame_rate: str = "0/0"
    nominal_frame_rate: str = "0/0"
    channels: int = 0
    layout: str = ""
    sample_rate: int = 0


@dataclass(frozen=True)
class MediaInfo:
    """A container and its streams; `duration_s` is what the container declares, None if it does not."""

    container: Container
    duration_s: float | None
    streams: tuple[StreamInfo, ...]

    @property
    def video(self) -> StreamInfo | None:
        """The picture: the first video stream that is not cover art."""
        return next((s for s in self.streams if s.kind == "video" and not s.attached_picture), None)

    @property
    def audio(self) -> StreamInfo | None:
        """The sound that players choose: the first audio stream marked default, else the first."""
        tracks = [s for s in self.streams if s.kind == "audio"]
        return next((s for s in tracks if s.default), tracks[0] if tracks else None)


@dataclass(frozen=True)
class Span:
    """What of a stream is really in the file; `last_s` is when the last packet starts, `end_s` when it ends.

    They are equal where the container states no packet durations.
    """

    start_s: float
    last_s: float
    end_s: float
    packets: int


@dataclass(frozen=True)
class Demuxed:
    """Every packet of a file was read: the span of each stream, and what the demuxer complained about."""

    spans: dict[int, Span] = field(default_factory=dict)
    complaints: tuple[str, ...] = ()


def probe(ffmpeg: Ffmpeg, path: Path) -> MediaInfo:
    """Return what the container declares.

    Raises UnknownMediaError, FfmpegError, UnreadableAnswerError, OSError.
    """
    container = container_of(path)
    args = ["-show_entries", ENTRIES, "-of", "json=compact=1", "-i", f"{FILE}{path}"]
    lines = list(bounded(ffmpeg).ffprobe_lines(args))
    try:
        answer = json.loads("\n".join(line for line in lines if not line.startswith("log ")))
        described = answer.get("format", {})
        origin = _seconds(described.get("start_time")) or 0.0
        streams = tuple(_stream(raw, origin) for raw in answer.get("streams", []) if "codec_type" in raw)
        return MediaInfo(container, _seconds(described.get("duration")), streams)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableAnswerError(f"{type(error).__name__} in what ffprobe told") from error


def demux(ffmpeg: Ffmpeg, path: Path, timeout_s: float) -> Demuxed:
    """Read every packet header of the file, decoding none. Raises UnknownMediaError, FfmpegError, OSError."""
    entries = "packet=stream_index,pts_time,dts_time,duration_time,flags:format=start_time"
    args = ["-show_entries", entries, "-of", "compact=p=0", "-i", f"{FILE}{path}"]
    origin = 0.0
    found: dict[int, Span] = {}
    complaints: list[str] = []
    for line in bounded(ffmpeg).ffprobe_lines(args, timeout_s=timeout_s):
        if line.startswith("log "):
            complaints.append(line.removeprefix("log "))
            continue
        values = dict(item.split("=", 1) for item in line.split("|") if "=" in item)
        time = _seconds(values.get("pts_time"), values.get("dts_time"))
        if "start_time" in values:
            origin = _seconds(values["start_time"]) or 0.0
        elif time is not None and "D" not in values.get("flags", ""):
            index = int(values["stream_index"])
            end = time + (_seconds(values.get("duration_time")) or 0.0)
            so_far = found.get(index, Span(time, time, end, 0))
            found[index] = Span(
                min(so_far.start_s, time), max(so_far.last_s, time), max(so_far.end_s, end), so_far.packets + 1
            )
    spans = {
        index: Span(span.start_s - origin, span.last_s - origin, span.end_s - origin, span.packets)
        for index, span in found.items()
    }
    return Demuxed(spans, tuple(complaints))


def picture_end(video: StreamInfo, span: Span) -> float:
    """Return when the last picture ends, in seconds: the length that the dub must have.

    Where the container states no frame durations, the last frame lasts as long as the average one.
    """
    if span.end_s > span.last_s:
        return span.end_s
    numerator, _, denominator = video.frame_rate.partition("/")
    if int(numerator) and int(denominator):
        return span.last_s + float(Fraction(video.frame_rate) ** -1)
    return span.last_s + (span.last_s - span.start_s) / max(1, span.packets - 1)


def bounded(ffmpeg: Ffmpeg) -> Ffmpeg:
    """Return the same tools with the memory that reading an untrusted file may take."""
    return replace(ffmpeg, limits=replace(ffmpeg.limits, address_space=PROBE_ADDRESS_SPACE))


def _seconds(*values: Any) -> float | None:
    """Return the first value that is a number of seconds; ffprobe says `N/A` for none."""
    numbers = (float(value) for value in values if value not in {None, "N/A", ""})
    return next(filter(math.isfinite, numbers), None)


def _stream(raw: dict[str, Any], origin: float) -> StreamInfo:
    start = _seconds(raw.get("start_time"))
    disposition = raw.get("disposition", {})
    channels = int(raw.get("channels", 0))
    language = raw.get("tags", {}).get("language", "")
    return StreamInfo(
        index=int(raw["index"]),
        kind=raw["codec_type"],
        codec=raw.get("codec_name", "unknown"),
        start_s=0.0 if start is None else start - origin,
        duration_s=_seconds(raw.get("duration")),
        language=language if LANGUAGE_TAG.fullmatch(language) else None,
        default=bool(disposition.get("default")),
        attached_picture=bool(disposition.get("attached_pic")),
        width=int(raw.get("width", 0)),
        height=int(raw.get("height", 0)),
        pixel_format=raw.get("pix_fmt", ""),
        frame_rate=raw.get("avg_frame_rate", "0/0"),
        nominal_frame_rate=raw.get("r_frame_rate", "0/0"),
        channels=channels,
        layout=raw.get("channel_layout") or DEFAULT_LAYOUTS.get(channels, ""),
        sample_rate=int(raw.get("sample_rate", 0)),
    )
