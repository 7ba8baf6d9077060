"""Small generated films, and the stages run on them as the worker would."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from services.worker.engines.protocols import EngineOptions
from services.worker.engines.registry import Engines
from services.worker.stages import audio, mix, mux
from services.worker.stages.base import StageContext, StageResult
from shared.artifacts import describe
from shared.events.names import Stage
from shared.events.types import AudioTrack, SourceMedia, VideoTrack
from shared.ffmpeg import Ffmpeg
from shared.layout import Layout
from shared.manifests import Segment, SpeechManifest, SpokenLine, Transcript, TranslatedSegment, Translation
from shared.media_probe import probe
from tests import factories

RATE = 48_000
BED_HZ = 440
VOICE_HZ = 3000
VOICE_SPANS = ((1.0, 2.0), (3.5, 4.25))
LINES = ("Ele não era um jovem mal-intencionado.", "A menos que seja frieza.")
SAID = ("He was not an ill disposed young man.", "Unless to be cold hearted.")

H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-bf", "2"]
AAC = ["-c:a", "aac", "-aac_coder", "fast", "-b:a", "192k"]
"""The default coder searches long for what a pure tone does not need; the stages' own encoding stays as it is."""


def make_film(
    ffmpeg: Ffmpeg,
    path: Path,
    muxer: str,
    *,
    seconds: float = 6.0,
    fps: str = "25",
    size: str = "160x120",
    layout: str = "stereo",
    sound: str | None = None,
    video: Sequence[str] = H264,
    encoding: Sequence[str] = AAC,
    extra: Sequence[str] = (),
) -> Path:
    """Write a test picture with a quiet tone in every channel, or with `sound`, any source of libavfilter."""
    tone = f"0.05*sin({BED_HZ}*2*PI*t)"
    channels = {"mono": 1, "stereo": 2, "5.1": 6, "5.1(side)": 6, "7.1": 8, "quad": 4}[layout]
    bed = sound or f"aevalsrc={'|'.join([tone] * channels)}:c={layout}:s={RATE}:d={seconds}"
    ffmpeg.run(
        [
            *["-f", "lavfi", "-i", f"testsrc=d={seconds}:r={fps}:s={size}"],
            *["-f", "lavfi", "-i", bed],
            *["-map", "0:v", "-map", "1:a", *video, *encoding, *extra, "-f", muxer, f"file:{path}"],
        ]
    )
    return path


def delayed(ffmpeg: Ffmpeg, film: Path, path: Path, muxer: str, *, video_s: float = 0.0, audio_s: float = 0.0) -> Path:
    """Write the film again with its picture or its sound starting later."""
    inputs = ["-itsoffset", f"{video_s}", "-i", f"file:{film}", "-itsoffset", f"{audio_s}", "-i", f"file:{film}"]
    ffmpeg.run([*inputs, "-map", "0:v", "-map", "1:a", "-c", "copy", "-f", muxer, f"file:{path}"])
    return path


def voice_track(seconds: float, *, level: float = 0.1) -> NDArray[np.float32]:
    """Bursts of a high tone where lines are spoken: easy to tell from the bed."""
    track = np.zeros(round(seconds * RATE), np.float32)
    for start, end in VOICE_SPANS:
        time = np.arange(round((end - start) * RATE)) / RATE
        at = round(start * RATE)
        track[at : at + time.size] = level * np.sin(2 * np.pi * VOICE_HZ * time)
    return track


def amplitude(samples: NDArray[np.float32], hertz: float, start: float, end: float) -> float:
    """Return the amplitude of a tone in a stretch of one channel, by correlation."""
    part = samples[round(start * RATE) : round(end * RATE)]
    time = np.arange(part.size) / RATE
    return float(2 * np.abs(np.mean(part * np.exp(-2j * np.pi * hertz * time))))


@dataclass(frozen=True)
class Dubbed:
    """A film after the stages: their results by name, and where everything is."""

    context: StageContext
    results: dict[Stage, StageResult]

    @property
    def facts(self) -> dict[str, Any]:
        return {name: value for result in self.results.values() for name, value in result.facts.items()}

    @property
    def issues(self) -> list[str]:
        return [issue.code for result in self.results.values() for issue in result.issues]


def context_for(ffmpeg: Ffmpeg, data: Path, film: Path) -> StageContext:
    """Return the context of a job on this film, below the data directory."""
    layout = Layout(data)
    info = probe(ffmpeg, film)
    assert info.video is not None
    assert info.audio is not None
    source = SourceMedia(
        path="uploads/film", sha256="ab" * 32, size=film.stat().st_size, container=info.container,
        duration_s=info.duration_s or 0.0,
        video=VideoTrack(index=info.video.index, codec=info.video.codec, width=info.video.width,
                         height=info.video.height, frame_rate=info.video.frame_rate),
        audio=AudioTrack(index=info.audio.index, codec=info.audio.codec, channels=info.audio.channels,
                         layout=info.audio.layout, sample_rate=info.audio.sample_rate),
    )  # fmt: skip
    command = factories.command("job-1", job=factories.submitted_data(source=source))
    paths = layout.job("job-1", "film", "film")
    paths.work.mkdir(parents=True, exist_ok=True)
    engines = Engines(EngineOptions(data), {})
    return StageContext(command, layout, paths, film, engines, ffmpeg, lambda _fraction, _message: None)


def after(context: StageContext, *results: StageResult) -> StageContext:
    """Return the context of a later stage: the outputs and facts of earlier ones are its inputs."""
    inputs = dict(context.command.inputs)
    facts = dict(context.command.facts)
    for result in results:
        inputs |= {output.name: output for output in result.outputs}
        facts |= result.facts
    return replace(context, command=context.command.model_copy(update={"inputs": inputs, "facts": facts}))


def spoken(context: StageContext, duration_s: float, track: NDArray[np.float32]) -> StageResult:
    """Put down what transcribe, translate and tts would have left."""
    paths = context.paths
    soundfile.write(paths.dialogue, track, RATE, subtype="FLOAT")
    segments = [
        Segment(index=i, start=s, end=e, text=SAID[i], words=[], avg_logprob=0) for i, (s, e) in enumerate(VOICE_SPANS)
    ]
    Transcript(language="en", language_probability=1, duration_s=duration_s, segments=segments).write(paths.transcript)
    translated = [
        TranslatedSegment(index=i, start=s, end=e, source_text=SAID[i], text=LINES[i])
        for i, (s, e) in enumerate(VOICE_SPANS)
    ]
    Translation(source_language="en", target_language="pt", route=["test"], segments=translated).write(
        paths.translation
    )
    lines = [
        SpokenLine(
            index=i, start=s, end=e, slot_end=e, text=LINES[i], voice="v", natural_s=e - s, engine_rate=1, stretch=1,
            fits=True, take="t",
        )
        for i, (s, e) in enumerate(VOICE_SPANS)
    ]  # fmt: skip
    SpeechManifest(sample_rate=RATE, duration_s=duration_s, voice="v", lines=lines).write(paths.speech_manifest)
    made = {
        "dialogue": paths.dialogue,
        "transcript": paths.transcript,
        "translation": paths.translation,
        "tts_manifest": paths.speech_manifest,
    }
    return StageResult([describe(name, path, paths.output_root) for name, path in made.items()])


def dub(
    ffmpeg: Ffmpeg, data: Path, film: Path, track: NDArray[np.float32] | None = None, until: Stage = "mux"
) -> Dubbed:
    """Run audio, mix and mux; `track` is the dialogue, tone bursts by default."""
    context = context_for(ffmpeg, data, film)
    results: dict[Stage, StageResult] = {"audio": audio.run(context)}
    if until == "audio":
        return Dubbed(context, results)
    duration_s = float(results["audio"].facts["duration_s"])
    results["tts"] = spoken(context, duration_s, voice_track(duration_s) if track is None else track)
    context = after(context, *results.values())
    results["mix"] = mix.run(context)
    context = after(context, results["mix"])
    if until == "mux":
        results["mux"] = mux.run(context)
    return Dubbed(context, results)
