"""Bringing a finished mix to its loudness: a constant gain, and a limiter only where peaks forbid it.

Lives here: the plan of each try and its ffmpeg run. Does not live here: the mix itself (`mix`), the meter
(`media_engine`). EBU R128 / BS.1770; the target is the web preset of the levels reference.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import ffmpeg as graph

from services.worker.stages.media_engine import EXACT, METER, SAMPLE_RATE, Loudness, read_meter
from shared.ffmpeg import Ffmpeg
from shared.media_inputs import FILE

TARGET_LUFS = -16.0
CEILING_DBTP = -2.0
"""The delivered limit is -1 dBTP; a decibel is left for what a lossy encoder adds to peaks."""
CLOSE_ENOUGH_LU = 0.3
MAX_TRIES = 6

OVERSAMPLED_RATE = 4 * SAMPLE_RATE
"""A limiter at four times the rate sees the peaks between samples (BS.1770-4, annex 2)."""
LIMITER_ATTACK_MS = 5
LIMITER_RELEASE_MS = 50
_DELAY = OVERSAMPLED_RATE * LIMITER_ATTACK_MS // 1000
"""`alimiter` looks ahead by its attack and delays by as much, in oversampled samples."""
_TAIL_S = 0.1


@dataclass(frozen=True)
class Level:
    """One try: the gain in dB, and the ceiling of the limiter in dBFS, None for no limiter."""

    gain_db: float
    ceiling_db: float | None


def first_level(mix: Loudness) -> Level:
    """Return the gain that brings the measured mix to the target, limited if a peak would pass the ceiling."""
    if mix.silent:
        return Level(0.0, None)
    gain = TARGET_LUFS - mix.integrated
    return Level(gain, CEILING_DBTP if mix.true_peak + gain > CEILING_DBTP else None)


def next_level(tried: Level, result: Loudness) -> Level | None:
    """Return what to try after this result, None if it is good. A limiter takes some loudness: more gain follows."""
    if result.silent or (
        abs(TARGET_LUFS - result.integrated) <= CLOSE_ENOUGH_LU and result.true_peak <= CEILING_DBTP + 0.05
    ):
        return None
    ceiling = tried.ceiling_db
    if result.true_peak > CEILING_DBTP:
        ceiling = CEILING_DBTP if ceiling is None else ceiling - (result.true_peak - CEILING_DBTP)
    return Level(tried.gain_db + TARGET_LUFS - result.integrated, ceiling)


def levelled(ffmpeg: Ffmpeg, mix: Path, target: Path, measured: Loudness, samples: int) -> tuple[Loudness, Level]:
    """Write `mix` at the target loudness, exactly `samples` long. Return what was reached, and how.

    Raises FfmpegError, OSError.
    """
    following: Level | None = first_level(measured)
    tries = 0
    while following is not None and tries < MAX_TRIES:
        level = following
        result = read_meter(ffmpeg.run(arguments(mix, target, level, samples), loglevel="info").stderr)
        following = next_level(level, result)
        tries += 1
    return result, level


def arguments(mix: Path, target: Path, level: Level, samples: int) -> list[str]:
    """Return the run of one try: gain, limiter if any, meter, 32-bit float WAV (RF64 beyond 4 GiB)."""
    sound = graph.input(f"{FILE}{mix}").audio.filter("volume", f"{level.gain_db:.3f}dB", precision="float")
    if level.ceiling_db is not None:
        limiter = {
            "limit": f"{math.pow(10, level.ceiling_db / 20):.6f}",
            "attack": LIMITER_ATTACK_MS,
            "release": LIMITER_RELEASE_MS,
            "level": "disabled",
        }
        sound = (
            sound.filter("apad", pad_len=int(_TAIL_S * SAMPLE_RATE))
            .filter("aresample", OVERSAMPLED_RATE)
            .filter("alimiter", **limiter)
            .filter("atrim", start_sample=_DELAY)
            .filter("asetpts", "N/SR/TB")
            .filter("aresample", SAMPLE_RATE)
        )
    sound = sound.filter("atrim", end_sample=samples).filter("ebur128", **METER).filter("aformat", sample_fmts="flt")
    made = graph.output(sound, f"{FILE}{target}", f="wav", rf64="auto", acodec="pcm_f32le", ar=SAMPLE_RATE, **EXACT)
    arguments_of: list[str] = made.get_args()
    return arguments_of
