"""The mix `legacy`: a compressor lowers the original whenever, and as far as, the voice is loud. One run of ffmpeg.

Lives here: that run, and what both mixes are made of. Does not live here: the mix `enhanced` and the stage (`mix`).
The compressor is the predecessor's. It follows the voice's level instead of the plan of its lines: it reacts a moment
late, lowers less under quiet words, and lets the original up in every pause.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg as graph

from services.worker.stages.audio import GAPLESS
from services.worker.stages.base import StageContext
from services.worker.stages.channels import ChannelPlan
from services.worker.stages.media_engine import EXACT, METER, SAMPLE_RATE, Loudness, read_meter
from shared.media_inputs import FILE

COMPRESSOR: Mapping[str, float] = {"threshold": 0.02, "ratio": 10, "attack": 5, "release": 250}
"""Options of `sidechaincompress`: linear level, ratio, milliseconds."""


@dataclass(frozen=True)
class Gains:
    """Linear gains of the original and of the voice, before the loudness of the sum is set."""

    original: float
    voice: float


def legacy(context: StageContext, plan: ChannelPlan, gains: Gains, samples: int, premix: Path) -> Loudness:
    """Write the mix with the original lowered by the voice's level. Return its loudness. Raises FfmpegError."""
    track = context.command.job.source.audio.index
    done = context.ffmpeg.run(
        arguments(
            original(context.source, track, plan, samples), context.input("dialogue"), plan, gains, samples, premix
        ),
        progress=lambda made_s: context.progress(0.7 * min(1.0, made_s * SAMPLE_RATE / samples), "mixing"),
        loglevel="info",
    )
    return read_meter(done.stderr)


def original(source: Path, track: int, plan: ChannelPlan, samples: int) -> Any:
    """Return the source's sound as a stream: 48 kHz float in the dub's layout, exactly `samples`."""
    return (
        graph.input(f"{FILE}{source}")[str(track)]
        .filter("aresample", SAMPLE_RATE, **GAPLESS)
        .filter("aformat", sample_fmts="flt", channel_layouts=plan.layout)
        .filter("apad", whole_len=samples)
        .filter("atrim", end_sample=samples)
    )


def arguments(bed: Any, dialogue: Path, plan: ChannelPlan, gains: Gains, samples: int, target: Path) -> list[str]:
    """Return the run that mixes a stream of the original and the voice into a float WAV, and meters it.

    Both go on in silence for ever, and the end is cut off the mix: `sidechaincompress` drops up to a second that it
    still holds when its first input ends (seen in ffmpeg 7.0.2).
    """
    voice = (
        graph.input(f"{FILE}{dialogue}")
        .audio.filter("aformat", sample_fmts="flt", sample_rates=SAMPLE_RATE, channel_layouts="mono")
        .filter("apad")
        .filter("volume", f"{gains.voice:.6f}", precision="float")
        .filter_multi_output("asplit", plan.channels + 1)
    )
    loud = bed.filter("apad").filter("volume", f"{gains.original:.6f}", precision="float")
    lowered = graph.filter([loud, voice[plan.channels]], "sidechaincompress", **COMPRESSOR)
    channels = [voice[n].filter("volume", f"{gain:.6f}", precision="float") for n, gain in enumerate(plan.voice)]
    over = graph.filter(channels, "amerge", inputs=plan.channels) if plan.channels > 1 else channels[0]
    over = over.filter("channelmap", map="|".join(map(str, range(plan.channels))), channel_layout=plan.layout)
    sound = (
        graph.filter([lowered, over], "amix", inputs=2, normalize=0)
        .filter("atrim", end_sample=samples)
        .filter("ebur128", **METER)
        .filter("aformat", sample_fmts="flt", channel_layouts=plan.layout)
    )
    made = graph.output(sound, f"{FILE}{target}", f="wav", rf64="auto", acodec="pcm_f32le", ar=SAMPLE_RATE, **EXACT)
    arguments_of: list[str] = made.get_args()
    return arguments_of
