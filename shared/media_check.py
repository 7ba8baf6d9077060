"""The policy for an untrusted video: what is refused before a job exists.

Lives here: the checks, from cheap to dear, and the command `python -m shared.media_check PATH --max-minutes N`, which
ingest runs as a child so that no media is opened in a process that answers HTTP. It prints one JSON object and exits
with 0 (`{"media": ...}`) or 2 (`{"refused": {"code", "message"}}`).
Does not live here: reading media (`shared.media_probe`), running ffmpeg (`shared.ffmpeg`).
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from shared.events.types import AudioTrack, VideoTrack
from shared.ffmpeg import Ffmpeg, FfmpegError
from shared.media_inputs import FILE, MAX_PIXELS, UnknownMediaError
from shared.media_probe import Demuxed, MediaInfo, StreamInfo, demux, picture_end, probe
from shared.niceness import yield_to_services
from shared.telemetry_off import turn_telemetry_off

VIDEO_CONTAINERS = frozenset({"mov", "matroska", "avi", "mpegts"})
AUDIO_CONTAINERS = frozenset({"mp3", "wav", "w64", "flac", "ogg"})
MAX_STREAMS = 32
MAX_FPS = 240.0
MAX_CHANNELS = 16
"""Limits from the hardening page of the design; pixels are limited where a file is opened."""
MIN_DURATION_S = 0.5
TRUNCATION_TOLERANCE_S = 0.5
"""Containers state a length that may exceed the last packet by a frame or an encoder's padding, never by so much."""
DEMUX_TIMEOUT_S = 300.0
TRUNCATION_SIGNS = ("partial file", "File ended prematurely", "moov atom not found", "truncat")
"""What the demuxers say of a file that ends too early."""
OVERSIZE_SIGN = "exceeds specified max pixel count"
RIFF_SIZE_UNKNOWN = frozenset({0, 0xFFFFFFFF})
"""What writers that cannot seek back leave in a RIFF header."""

SPEECH_RATE = 16_000
SPEECH_SEARCH_S = 600
SPEECH_BLOCK_S = 30
SPEECH_ENOUGH_S = 0.5
SPEECH_SHORTEST_MS = 250
"""Shorter bursts are clicks and coughs."""


class MediaRefused(Exception):  # noqa: N818 -- a verdict, not a fault
    """The file will not be dubbed; `code` is stable, `message` says what is wrong and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class CheckedMedia(BaseModel):
    """What a submission needs to know of an accepted file; `duration_s` is the picture's end, in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    container: str
    duration_s: float
    video: VideoTrack
    audio: AudioTrack


def check_media(path: Path, max_minutes: float, ffmpeg: Ffmpeg) -> CheckedMedia:
    """Accept or refuse the file. Raises MediaRefused, OSError, and FfmpegError for a tool that was killed."""
    size = path.stat().st_size
    if size == 0:
        raise MediaRefused("empty_file", "The file is empty: was the upload cut off?")
    info = _declared(ffmpeg, path)
    video, audio = _tracks(info)
    found = _present(ffmpeg, path)
    _refuse_truncated(info, found, (video, audio))
    if info.container == "avi" and _riff_bytes(path) > size:
        raise MediaRefused("truncated_file", "The file is incomplete: it is shorter than its header says.")
    duration = picture_end(video, found.spans[video.index])
    longest = max(span.end_s for span in found.spans.values())
    if duration <= MIN_DURATION_S:
        raise MediaRefused("too_short", f"The video lasts {duration:.2f} s: there is nothing to dub.")
    if longest > max_minutes * 60:
        raise MediaRefused("too_long", f"The video lasts {longest / 60:.1f} min; at most {max_minutes:g} are allowed.")
    _refuse_excess(video, audio, found.spans[video.index].packets / duration, found.complaints)
    if not _has_speech(_samples(ffmpeg, path, audio)):
        raise MediaRefused(
            "no_speech", f"Nobody speaks in the first {SPEECH_SEARCH_S // 60} minutes of the audio track."
        )
    return CheckedMedia(
        size=size,
        container=info.container,
        duration_s=duration,
        video=VideoTrack(
            index=video.index,
            codec=video.codec,
            width=video.width,
            height=video.height,
            frame_rate=video.frame_rate,
        ),
        audio=AudioTrack(
            index=audio.index,
            codec=audio.codec,
            channels=audio.channels,
            layout=audio.layout,
            sample_rate=audio.sample_rate,
            language=audio.language,
        ),
    )


def _declared(ffmpeg: Ffmpeg, path: Path) -> MediaInfo:
    try:
        info = probe(ffmpeg, path)
    except UnknownMediaError:
        raise MediaRefused(
            "not_a_video", "This is no video file: mp4, mov, mkv, webm, avi and mpeg-ts are understood."
        ) from None
    except FfmpegError as error:
        if error.timed_out:
            raise MediaRefused("not_a_video", "The file could not be understood in time.") from error
        if _says_truncated(error.stderr):
            raise MediaRefused("truncated_file", "The file is incomplete: its index is missing.") from error
        raise MediaRefused("not_a_video", "The file starts like a video, but cannot be read as one.") from error
    if info.container not in VIDEO_CONTAINERS | AUDIO_CONTAINERS:
        raise MediaRefused("not_a_video", f"Files of type {info.container} are not dubbed.")
    return info


def _tracks(info: MediaInfo) -> tuple[StreamInfo, StreamInfo]:
    if len(info.streams) > MAX_STREAMS:
        raise MediaRefused("too_many_streams", f"The file has {len(info.streams)} tracks; at most {MAX_STREAMS}.")
    if info.video is None:
        raise MediaRefused("no_video", "The file has no video track: dubbing needs a picture.")
    if info.audio is None:
        raise MediaRefused("no_audio", "The file has no audio track: there is nothing to dub.")
    return info.video, info.audio


def _present(ffmpeg: Ffmpeg, path: Path) -> Demuxed:
    try:
        return demux(ffmpeg, path, DEMUX_TIMEOUT_S)
    except FfmpegError as error:
        if error.timed_out:
            raise MediaRefused("not_a_video", "The file could not be read through in time.") from error
        raise MediaRefused("truncated_file", "The file cannot be read to its end.") from error


def _says_truncated(log: tuple[str, ...]) -> bool:
    return any(sign in line for line in log for sign in TRUNCATION_SIGNS)


def _refuse_truncated(info: MediaInfo, found: Demuxed, tracks: tuple[StreamInfo, ...]) -> None:
    """Compare what the file says it holds with what it holds; transport streams and mp3 declare nothing reliable."""
    ends = [found.spans[track.index].end_s if track.index in found.spans else 0.0 for track in tracks]
    declares = info.container in {"mov", "matroska", "avi"}
    short = declares and (
        max((span.end_s for span in found.spans.values()), default=0.0) + TRUNCATION_TOLERANCE_S
        < (info.duration_s or 0.0)
        or any(
            end + TRUNCATION_TOLERANCE_S < track.start_s + (track.duration_s or 0.0)
            for track, end in zip(tracks, ends, strict=True)
        )
    )
    if short or min(ends) == 0.0 or _says_truncated(found.complaints):
        raise MediaRefused("truncated_file", "The file is incomplete: it ends before its declared length.")


def _riff_bytes(path: Path) -> int:
    """Return the length that the first RIFF chunk states; ffmpeg estimates a cut AVI's duration from what is left."""
    with path.open("rb") as file:
        stated = int.from_bytes(file.read(8)[4:], "little")
    return 0 if stated in RIFF_SIZE_UNKNOWN else stated + 8


def _refuse_excess(video: StreamInfo, audio: StreamInfo, fps: float, complaints: tuple[str, ...]) -> None:
    pixels = video.width * video.height
    if pixels > MAX_PIXELS or any(OVERSIZE_SIGN in line for line in complaints):
        raise MediaRefused("picture_too_large", "The picture is larger than 8K (7680x4320 pixels).")
    if pixels == 0:
        raise MediaRefused("not_a_video", "The picture's size cannot be read.")
    if fps > MAX_FPS:
        raise MediaRefused("frame_rate_too_high", f"The video has {fps:.0f} frames/s; at most {MAX_FPS:.0f}.")
    if audio.channels > MAX_CHANNELS:
        raise MediaRefused("too_many_channels", f"The audio has {audio.channels} channels; at most {MAX_CHANNELS}.")


def _samples(ffmpeg: Ffmpeg, path: Path, audio: StreamInfo) -> Iterator[NDArray[np.float32]]:
    """Yield the start of the audio as blocks of 16 kHz mono, float32 in -1..1."""
    args = ["-i", f"{FILE}{path}", "-map", f"0:{audio.index}", "-vn", "-sn", "-dn", "-t", f"{SPEECH_SEARCH_S}"]
    args += ["-ac", "1", "-ar", f"{SPEECH_RATE}", "-f", "f32le", "pipe:1"]
    try:
        with ffmpeg.reading(args) as pipe:
            while block := pipe.read(SPEECH_BLOCK_S * SPEECH_RATE * 4):
                yield np.frombuffer(block, dtype="<f4")
    except FfmpegError as error:
        if error.timed_out:
            raise
        raise MediaRefused("undecodable_audio", f"The audio track ({audio.codec}) cannot be decoded.") from error


def _has_speech(blocks: Iterator[NDArray[np.float32]]) -> bool:
    """Return whether the voice activity detector hears at least half a second of speech, stopping as soon as it has."""
    turn_telemetry_off()
    from faster_whisper.vad import VadOptions, get_speech_timestamps  # noqa: PLC0415 -- takes a second to import

    options = VadOptions(min_speech_duration_ms=SPEECH_SHORTEST_MS, speech_pad_ms=0)
    heard = 0
    for block in blocks:
        heard += sum(span["end"] - span["start"] for span in get_speech_timestamps(block, options, SPEECH_RATE))
        if heard >= SPEECH_ENOUGH_S * SPEECH_RATE:
            return True
    return False


class Verdict(BaseModel):
    """What the command prints: exactly one of both."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    media: CheckedMedia | None = None
    refused: dict[str, str] | None = None


def main(arguments: list[str] | None = None) -> int:
    """Check one file and print the verdict; the exit code is 0 for accepted and 2 for refused."""
    parser = argparse.ArgumentParser(prog="python -m shared.media_check")
    parser.add_argument("path", type=Path)
    parser.add_argument("--max-minutes", type=float, required=True)
    options = parser.parse_args(arguments)
    yield_to_services()
    try:
        verdict = Verdict(media=check_media(options.path, options.max_minutes, Ffmpeg.find()))
    except MediaRefused as refusal:
        verdict = Verdict(refused={"code": refusal.code, "message": refusal.message})
    sys.stdout.write(verdict.model_dump_json(exclude_none=True) + "\n")
    return 2 if verdict.refused else 0


if __name__ == "__main__":
    sys.exit(main())
