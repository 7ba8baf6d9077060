"""The mix stage: the dubbed voice over the lowered original, in the original's channels, at programme loudness.

Lives here: the stage, and the mix `enhanced`, of which the lowering is planned from the lines' times. Does not live
here: the envelope (`dubbing.ducking`), the mix `legacy` (`sidechain`), the channel plan (`channels`) and the final
loudness (`loudness`). Works in blocks: memory does not grow with the length of the film.
"""

from io import BufferedReader
from pathlib import Path

import ffmpeg as graph
import numpy as np
import soundfile
from numpy.typing import NDArray

from services.worker.dubbing import ducking
from services.worker.engines.registry import Engines
from services.worker.stages import sidechain
from services.worker.stages.base import Fact, StageContext, StageResult, setting
from services.worker.stages.channels import ChannelPlan, plan_channels
from services.worker.stages.loudness import CEILING_DBTP, TARGET_LUFS, levelled
from services.worker.stages.media_engine import (
    EXACT,
    METER,
    SAMPLE_RATE,
    SILENCE_LUFS,
    Loudness,
    ffmpeg_engine,
    measure,
    read_meter,
)
from services.worker.stages.sidechain import Gains
from shared.artifacts import atomic_path, describe, temporary_path
from shared.commands import StageCommand
from shared.events.types import EngineUsed, Issue
from shared.manifests import SpeechManifest
from shared.media_inputs import FILE

BLOCK = SAMPLE_RATE * 10
"""Samples per channel that are in memory at once: ten seconds."""
TOLERANCE_LU = 0.5
"""What the product promises; the loudness loop aims closer."""
MAX_TRUE_PEAK_DBTP = -1.0
MAX_GAIN_DB = 24.0
"""A nearly silent original or voice is not raised beyond this: it would be noise."""
BYTES_PER_SAMPLE = 4
ENHANCED = "enhanced"


def params(command: StageCommand) -> dict[str, Fact]:
    how = str(setting(command, "mix"))
    depth: dict[str, Fact] = {"depth_db": ducking.DEPTH_DB} if how == ENHANCED else dict(sidechain.COMPRESSOR)
    return {"mix": how, "target_lufs": TARGET_LUFS, "ceiling_dbtp": CEILING_DBTP, "revision": 1, **depth}


def engine(_command: StageCommand, _engines: Engines) -> EngineUsed:
    return ffmpeg_engine()


def gain_to(target_lufs: float, measured_lufs: float) -> float:
    """Return the linear gain between two loudnesses, at most `MAX_GAIN_DB`; 1 for silence."""
    if measured_lufs <= SILENCE_LUFS:
        return 1.0
    return float(10 ** (min(target_lufs - measured_lufs, MAX_GAIN_DB) / 20))


def run(context: StageContext) -> StageResult:
    """Raises StageError `missing_input`, FfmpegError, OSError."""
    track = context.command.job.source.audio
    plan = plan_channels(track.layout, track.channels)
    samples = round(float(context.command.facts["duration_s"]) * SAMPLE_RATE)
    dialogue = context.input("dialogue")
    voice = measure(context.ffmpeg, dialogue)
    gains = Gains(
        original=gain_to(TARGET_LUFS, float(context.command.facts["source_lufs"])),
        voice=gain_to(TARGET_LUFS, voice.integrated),
    )
    making = enhanced if setting(context.command, "mix") == ENHANCED else sidechain.legacy

    with temporary_path(context.paths.final_mix) as premix, atomic_path(context.paths.final_mix) as temporary:
        metered = making(context, plan, gains, samples, premix)
        context.progress(0.75, "setting the loudness")
        reached, level = levelled(context.ffmpeg, premix, temporary, metered, samples)

    facts: dict[str, Fact] = {
        "duration_s": samples / SAMPLE_RATE,
        "integrated_lufs": reached.integrated,
        "true_peak_dbtp": max(reached.true_peak, -200.0),
        "gain_db": round(level.gain_db, 2),
        "limited": level.ceiling_db is not None,
        "mix_layout": plan.layout,
        "mix_channels": plan.channels,
    }
    issues = []
    if voice.silent:
        issues.append(Issue(code="silent_dialogue", stage="mix", detail="the dubbed voice cannot be heard"))
    if abs(reached.integrated - TARGET_LUFS) > TOLERANCE_LU or reached.true_peak > MAX_TRUE_PEAK_DBTP:
        detail = f"{reached.integrated:.1f} LUFS, {reached.true_peak:.1f} dBTP"
        issues.append(Issue(code="loudness_not_reached", stage="mix", detail=detail))
    if not plan.kept:
        detail = f"{track.channels} channels became {plan.layout}"
        issues.append(Issue(code="channels_reduced", stage="mix", detail=detail))
    return StageResult([describe("final_mix", context.paths.final_mix, context.paths.output_root)], facts, issues)


def enhanced(context: StageContext, plan: ChannelPlan, gains: Gains, samples: int, premix: Path) -> Loudness:
    """Write the mix with the original lowered by a fixed depth around each line. Return its loudness."""
    speech = SpeechManifest.model_validate_json(context.input("tts_manifest").read_bytes())
    spans = [(line.start, line.end) for line in speech.lines]
    track = context.command.job.source.audio.index
    with (
        context.ffmpeg.reading(original_arguments(context.source, track, plan, samples)) as original,
        soundfile.SoundFile(context.input("dialogue")) as voices,
        context.ffmpeg.writing(premix_arguments(plan, premix), loglevel="info") as (pipe, log),
    ):
        for first in range(0, samples, BLOCK):
            count = min(BLOCK, samples - first)
            envelope = ducking.gain_envelope(spans, first, count, sample_rate=SAMPLE_RATE)
            spoken = voices.read(count, dtype="float32", fill_value=0.0)
            pipe.write(mixed(read_block(original, count, plan.channels), spoken, envelope, gains, plan).tobytes())
            context.progress(0.7 * (first + count) / samples, "mixing")
    return read_meter(log)


def mixed(
    original: NDArray[np.float32],
    spoken: NDArray[np.float32],
    envelope: NDArray[np.float32],
    gains: Gains,
    plan: ChannelPlan,
) -> NDArray[np.float32]:
    """Return a block of the mix, shape (samples, channels): the lowered original plus the voice in its channels."""
    bed = original * (envelope * np.float32(gains.original))[:, np.newaxis]
    placed = spoken[:, np.newaxis] * (np.array(plan.voice, dtype=np.float32) * np.float32(gains.voice))
    block: NDArray[np.float32] = (bed + placed).astype("<f4")
    return block


def read_block(pipe: BufferedReader, count: int, channels: int) -> NDArray[np.float32]:
    """Read `count` samples of each channel; silence where the original has already ended."""
    wanted = count * channels * BYTES_PER_SAMPLE
    data = pipe.read(wanted)
    return np.frombuffer(data.ljust(wanted, b"\0"), dtype="<f4").reshape(count, channels)


def original_arguments(source: Path, track: int, plan: ChannelPlan, samples: int) -> list[str]:
    """Return the run that writes the source's sound to a pipe: 48 kHz float, exactly `samples`."""
    sound = sidechain.original(source, track, plan, samples)
    arguments_of: list[str] = graph.output(sound, "pipe:1", f="f32le").get_args()
    return arguments_of


def premix_arguments(plan: ChannelPlan, target: Path) -> list[str]:
    """Return the run that writes a piped mix to a float WAV and meters it.

    Raw samples have no layout and ffmpeg guesses one by their number: channels are named by their place instead.
    """
    names = "|".join(str(place) for place in range(plan.channels))
    sound = (
        graph.input("pipe:0", f="f32le", ar=SAMPLE_RATE, ac=plan.channels)
        .audio.filter("channelmap", map=names, channel_layout=plan.layout)
        .filter("ebur128", **METER)
        .filter("aformat", sample_fmts="flt")
    )
    made = graph.output(sound, f"{FILE}{target}", f="wav", rf64="auto", acodec="pcm_f32le", ar=SAMPLE_RATE, **EXACT)
    arguments_of: list[str] = made.get_args()
    return arguments_of
