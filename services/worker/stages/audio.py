"""The audio stage: the source's sound as recognisers want it, and the facts that later stages build on.

Lives here: the stage. Does not live here: recognition (`transcribe`), the 48 kHz sound of the dub (`mix`).
Time 0 of every artifact is the origin of the source's own timeline, where its first stream starts.
"""

from pathlib import Path

import ffmpeg as graph

from services.worker.engines.registry import Engines
from services.worker.stages.base import Fact, StageContext, StageError, StageResult
from services.worker.stages.media_engine import EXACT, METER, ffmpeg_engine, read_meter
from shared.artifacts import atomic_path, describe
from shared.commands import StageCommand
from shared.events.types import EngineUsed, Issue
from shared.media_inputs import FILE
from shared.media_probe import demux, picture_end, probe

ASR_RATE = 16_000
DEMUX_TIMEOUT_S = 300.0
OVERHANG_S = 1.0
"""Sound beyond the picture's end that is worth a person's look: it is not dubbed."""

GAPLESS = {"async": 1, "first_pts": 0}
"""Options of `aresample`: silence where the source has none yet or a gap, so samples can be counted as time."""


def params(_command: StageCommand) -> dict[str, Fact]:
    return {"sample_rate": ASR_RATE, "revision": 1}


def engine(_command: StageCommand, _engines: Engines) -> EngineUsed:
    return ffmpeg_engine()


def run(context: StageContext) -> StageResult:
    """Raises StageError `source_damaged`, FfmpegError, OSError."""
    track = context.command.job.source.audio
    info = probe(context.ffmpeg, context.source)
    found = demux(context.ffmpeg, context.source, DEMUX_TIMEOUT_S)
    if info.video is None or info.video.index not in found.spans or track.index not in found.spans:
        raise StageError("source_damaged", "the picture or the sound of the source is gone")
    duration_s = round(picture_end(info.video, found.spans[info.video.index]), 6)

    with atomic_path(context.paths.asr_audio) as temporary:
        done = context.ffmpeg.run(
            arguments(context.source, track.index, duration_s, temporary),
            progress=lambda made_s: context.progress(made_s / duration_s, "reading the sound"),
            loglevel="info",
        )
    loudness = read_meter(done.stderr)
    facts: dict[str, Fact] = {
        "duration_s": duration_s,
        "frame_rate": info.video.frame_rate,
        "channels": track.channels,
        "layout": track.layout,
        "sample_rate": track.sample_rate,
        "source_lufs": loudness.integrated,
    }
    overhang_s = found.spans[track.index].end_s - duration_s
    issues = [
        Issue(code="sound_beyond_picture", stage="audio", detail=f"{overhang_s:.1f} s of sound after the last picture")
    ]
    return StageResult(
        [describe("asr_audio", context.paths.asr_audio, context.paths.output_root)],
        facts,
        issues if overhang_s > OVERHANG_S else [],
    )


def arguments(source: Path, track: int, duration_s: float, target: Path) -> list[str]:
    """Return the run that writes 16 kHz mono PCM of exactly `duration_s` and meters the original on the way."""
    samples = round(duration_s * ASR_RATE)
    sound = graph.input(f"{FILE}{source}")[str(track)].filter("aresample", **GAPLESS)
    branches = sound.filter_multi_output("asplit")
    mono = (
        branches[0]
        .filter("aresample", ASR_RATE)
        .filter("aformat", sample_fmts="s16", channel_layouts="mono")
        .filter("apad", whole_len=samples)
        .filter("atrim", end_sample=samples)
    )
    wav = graph.output(mono, f"{FILE}{target}", f="wav", rf64="auto", acodec="pcm_s16le", **EXACT)
    meter = graph.output(branches[1].filter("ebur128", **METER), "-", f="null")
    arguments_of: list[str] = graph.merge_outputs(wav, meter).get_args()
    return arguments_of
