"""Good and bad input files, made from the bundled sample by the real ffmpeg.

Lives here: the files. Does not live here: what ingest says to them.
"""

import os
import subprocess
from pathlib import Path

from shared.ffmpeg import Ffmpeg

SAMPLE = Path(__file__).parents[3] / "samples" / "sense-and-sensibility.mp4"

PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
CONCAT = b"ffconcat version 1.0\nfile other.mp4\n"
SCRIPT = b"#!/bin/sh\necho gotcha\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


def make(target: Path, *args: str) -> Path:
    """Run ffmpeg with these output options on the first seconds of the sample."""
    binary = Ffmpeg.find().ffmpeg
    command: list[str | Path] = [binary, "-v", "error", "-nostdin", "-y", "-t", "4", "-i", SAMPLE, *args, target]
    subprocess.run(command, check=True, timeout=60)
    return target


def short(directory: Path) -> Path:
    return make(directory / "short.mp4", "-c", "copy")


def other_bytes(video: bytes) -> bytes:
    """Return the same film in other bytes, of which no ingest knows anything yet: another box at the end of an mp4."""
    return video + b"\x00\x00\x00\x10free" + os.urandom(8)


def mkv(directory: Path) -> Path:
    return make(directory / "short.mkv", "-c", "copy")


def without_audio(directory: Path) -> Path:
    return make(directory / "silent.mp4", "-c", "copy", "-an")


def without_speech(directory: Path) -> Path:
    tone = ["-f", "lavfi", "-t", "4", "-i", "sine=frequency=440:sample_rate=48000"]
    binary = Ffmpeg.find().ffmpeg
    target = directory / "tone.mp4"
    command: list[str | Path] = [binary, "-v", "error", "-nostdin", "-y", "-t", "4", "-i", SAMPLE, *tone]
    command += ["-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac", "-shortest", target]
    subprocess.run(command, check=True, timeout=60)
    return target


def truncated(directory: Path) -> Path:
    """The index in front, so that the file opens, and then half of the data."""
    whole = make(directory / "whole.mp4", "-c", "copy", "-movflags", "+faststart").read_bytes()
    target = directory / "truncated.mp4"
    target.write_bytes(whole[: len(whole) // 2])
    return target
