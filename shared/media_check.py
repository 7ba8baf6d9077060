"""The policy for an untrusted video: what is refused before a job exists.

Lives here: the checks, from cheap to dear, and the command `python -m shared.media_check PATH --max-minutes N`, which
ingest runs as a child so that no media is opened in a process that answers HTTP. It prints one JSON object and exits
with 0 (`{"media": ...}`) or 2 (`{"refused": {"code", "message"}}`).
Does not live here: the verdict's form (`shared.media_verdict`), the limits (`shared.media_policy`), reading media
(`shared.media_probe`), running ffmpeg (`shared.ffmpeg`).
"""

import argparse
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.events.types import AudioTrack, VideoTrack
from shared.ffmpeg import Ffmpeg, FfmpegError
from shared.media_inputs import FILE, UnknownMediaError, container_of
from shared.media_policy import (
    AUDIO_CONTAINERS,
    VIDEO_CONTAINERS,
    MediaLimits,
    MediaRefused,
    refuse_declared_excess,
    refuse_excess,
    refuse_truncated,
    says_truncated,
    tracks_of,
)
from shared.media_probe import (
    Demuxed,
    MediaInfo,
    StreamInfo,
    UnreadableAnswerError,
    bounded,
    demux,
    picture_end,
    probe,
)
from shared.media_verdict import CheckedMedia, Verdict
from shared.niceness import yield_to_services
from shared.telemetry_off import turn_telemetry_off

DEMUX_TIMEOUT_S = 300.0
RIFF_SIZE_UNKNOWN = frozenset({0, 0xFFFFFFFF})
"""What writers that cannot seek back leave in a RIFF header."""

SPEECH_RATE = 16_000
SPEECH_SEARCH_S = 600
SPEECH_BLOCK_S = 30
SPEECH_ENOUGH_S = 0.5
SPEECH_SHORTEST_MS = 250
"""Shorter bursts are clicks and coughs."""


def check_media(path: Path, limits: MediaLimits, ffmpeg: Ffmpeg) -> CheckedMedia:
    """Accept or refuse the file.

    Raises MediaRefused, OSError, FfmpegError for a tool that was killed, and SandboxUnavailableError.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise MediaRefused("not_a_video", "This is no file, and so no video.")
    if about.st_size == 0:
        raise MediaRefused("empty_file", "The file is empty: was the upload cut off?")
    info = _declared(ffmpeg, path)
    video, audio = tracks_of(info)
    refuse_declared_excess(info, video, audio, limits)
    found = _present(ffmpeg, path)
    refuse_truncated(info, found, (video, audio))
    if info.container == "avi" and _riff_bytes(path) > about.st_size:
        raise MediaRefused("truncated_file", "The file is incomplete: it is shorter than its header says.")
    duration = picture_end(video, found.spans[video.index])
    refuse_excess(video, found, duration, about.st_size, limits)
    if not _has_speech(_samples(ffmpeg, path, audio)):
        raise MediaRefused(
            "no_speech", f"Nobody speaks in the first {SPEECH_SEARCH_S // 60} minutes of the audio track."
        )
    return CheckedMedia(
        size=about.st_size,
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
        if (container := container_of(path)) not in VIDEO_CONTAINERS | AUDIO_CONTAINERS:
            raise MediaRefused("not_a_video", f"Files of type {container} are not dubbed.")
        return probe(ffmpeg, path)
    except UnknownMediaError:
        raise MediaRefused(
            "not_a_video", "This is no video file: mp4, mov, mkv, webm, avi and mpeg-ts are understood."
        ) from None
    except FfmpegError as error:
        if error.timed_out:
            raise MediaRefused("not_a_video", "The file could not be understood in time.") from error
        if says_truncated(error.stderr):
            raise MediaRefused("truncated_file", "The file is incomplete: its index is missing.") from error
        raise MediaRefused("not_a_video", "The file starts like a video, but cannot be read as one.") from error
    except UnreadableAnswerError:
        raise MediaRefused("not_a_video", "What the file says of itself makes no sense.") from None


def _present(ffmpeg: Ffmpeg, path: Path) -> Demuxed:
    try:
        return demux(ffmpeg, path, DEMUX_TIMEOUT_S)
    except FfmpegError as error:
        if error.timed_out:
            raise MediaRefused("not_a_video", "The file could not be read through in time.") from error
        raise MediaRefused("truncated_file", "The file cannot be read to its end.") from error


def _riff_bytes(path: Path) -> int:
    """Return the length that the first RIFF chunk states; ffmpeg estimates a cut AVI's duration from what is left."""
    with path.open("rb") as file:
        stated = int.from_bytes(file.read(8)[4:], "little")
    return 0 if stated in RIFF_SIZE_UNKNOWN else stated + 8


def _samples(ffmpeg: Ffmpeg, path: Path, audio: StreamInfo) -> Iterator[NDArray[np.float32]]:
    """Yield the start of the audio as blocks of 16 kHz mono, float32 in -1..1."""
    args = ["-i", f"{FILE}{path}", "-map", f"0:{audio.index}", "-vn", "-sn", "-dn", "-t", f"{SPEECH_SEARCH_S}"]
    args += ["-ac", "1", "-ar", f"{SPEECH_RATE}", "-f", "f32le", "pipe:1"]
    try:
        with bounded(ffmpeg).reading(args) as pipe:
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


def main(arguments: list[str] | None = None) -> int:
    """Check one file and print the verdict; the exit code is 0 for accepted and 2 for refused."""
    parser = argparse.ArgumentParser(prog="python -m shared.media_check")
    parser.add_argument("path", type=Path)
    parser.add_argument("--max-minutes", type=float, required=True)
    for name in ("--max-width", "--max-height", "--max-pixels"):
        parser.add_argument(name, type=int, default=0)
    options = parser.parse_args(arguments)
    yield_to_services()
    try:
        limits = MediaLimits(options.max_minutes, options.max_width, options.max_height, options.max_pixels)
        verdict = Verdict(media=check_media(options.path, limits, Ffmpeg.find()))
    except MediaRefused as refusal:
        verdict = Verdict(refused={"code": refusal.code, "message": refusal.message})
    sys.stdout.write(verdict.model_dump_json(exclude_none=True) + "\n")
    return 2 if verdict.refused else 0


if __name__ == "__main__":
    sys.exit(main())
