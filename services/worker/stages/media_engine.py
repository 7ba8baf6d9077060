"""What the stages that only use ffmpeg have in common: who they are, and how loud something is.

Lives here: their engine record, bit-exact options, the loudness measurement. Does not live here: any stage.
"""

import functools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shared.events.types import EngineUsed
from shared.ffmpeg import Ffmpeg
from shared.media_inputs import FILE

SAMPLE_RATE = 48_000
"""Hz of every track that is made; recognisers get their own."""

EXACT = {"fflags": "+bitexact", "flags": "+bitexact", "map_metadata": -1, "map_chapters": -1}
"""Output options: no version strings, dates or tags of the source, so the same input gives the same bytes."""

SILENCE_LUFS = -70.0
"""The absolute gate of BS.1770: below it ebur128 measures nothing, and reports this value."""

METER = {"peak": "true", "framelog": "verbose"}
"""Options of the filter `ebur128` whose summary `read_meter` understands; its running log is not wanted."""

_INTEGRATED = re.compile(r"^\s*I:\s+(-?[\d.]+|-inf|nan) LUFS")
_PEAK = re.compile(r"^\s*Peak:\s+(-?[\d.]+|-inf|nan) dBFS")


@functools.cache
def ffmpeg_engine() -> EngineUsed:
    """Return the engine record of this machine's ffmpeg. Raises FfmpegMissingError."""
    found = Ffmpeg.find()
    return EngineUsed(name="ffmpeg", version=found.version, device="cpu", digest=found.digest)


@dataclass(frozen=True)
class Loudness:
    """EBU R128: integrated loudness in LUFS and the true peak in dBTP, each to a tenth; -70 and -inf for silence."""

    integrated: float
    true_peak: float

    @property
    def silent(self) -> bool:
        return self.integrated <= SILENCE_LUFS


def read_meter(log: Iterable[str]) -> Loudness:
    """Return what the last `ebur128` of a run summed up in its log (`loglevel` info). Raises ValueError if absent."""
    integrated = [match[1] for line in log if (match := _INTEGRATED.match(line))]
    peaks = [match[1] for line in log if (match := _PEAK.match(line))]
    if not integrated or not peaks:
        raise ValueError("no loudness summary in ffmpeg's log")
    loudness, peak = float(integrated[-1]), float(peaks[-1])
    return Loudness(loudness if math.isfinite(loudness) else SILENCE_LUFS, -math.inf if math.isnan(peak) else peak)


def measure(ffmpeg: Ffmpeg, path: Path, stream: str = "0:a:0") -> Loudness:
    """Return the loudness of a file's audio stream. Raises FfmpegError, OSError."""
    meter = "ebur128=" + ":".join(f"{name}={value}" for name, value in METER.items())
    done = ffmpeg.run(["-i", f"{FILE}{path}", "-map", stream, "-af", meter, "-f", "null", "-"], loglevel="info")
    return read_meter(done.stderr)
