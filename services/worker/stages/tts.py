"""The tts stage: every translated line spoken, fitted into its time, and placed on the dialogue track.

Lives here: the stage and its take cache. Does not live here: synthesis (`engines`) and the fit ladder (`dubbing`).
A line is cached by what decides its sound, so a killed synthesis goes on with the first line that has no take.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ffmpeg as graph
import numpy as np
import soundfile
from numpy.typing import NDArray

from services.worker.dubbing.fit import Placement, Slot, place, plan_rate, plan_slots
from services.worker.dubbing.place import mix_into, with_edge_fades
from services.worker.engines.protocols import TtsEngine
from services.worker.engines.registry import Engines, engine_used
from services.worker.engines.takes import is_speakable
from services.worker.stages.base import Fact, StageContext, StageError, StageResult, device_of, setting, working
from services.worker.stages.media_engine import EXACT, SAMPLE_RATE
from services.worker.stages.stretch import stretched
from shared.artifacts import atomic_path, describe, readable, temporary_path
from shared.commands import StageCommand
from shared.events.types import EngineUsed, Issue
from shared.ffmpeg import Ffmpeg
from shared.job.model import OUT_OF_MEMORY
from shared.manifests import SpeechManifest, SpokenLine, TranslatedSegment, Translation
from shared.media_inputs import FILE

_COPY_BLOCK = 1 << 20


def params(command: StageCommand) -> dict[str, Fact]:
    names = ("fast_voice", "timing_fit")
    return {"tgt_lang": command.job.tgt_lang, **{name: setting(command, name) for name in names}}


def engine(command: StageCommand, engines: Engines) -> EngineUsed:
    return engine_used(chosen(command, engines))


def chosen(command: StageCommand, engines: Engines) -> TtsEngine:
    """Return the voice engine for this command. Raises EngineError."""
    fast = bool(setting(command, "fast_voice"))
    return engines.tts(command.job.tgt_lang, fast=fast, device=device_of(command), avoid=command.avoid)


@dataclass(frozen=True)
class Take:
    """One synthesised line in the cache; `natural_s` is its length in seconds."""

    key: str
    path: Path
    natural_s: float


class TakeCache:
    """Takes by what decides their sound: text, voice, rate, engine and weights; `path_of` says where one's key is."""

    def __init__(self, path_of: Callable[[str], Path], speaker: TtsEngine, language: str) -> None:
        self._path_of = path_of
        self._speaker = speaker
        self._language = language
        self._engine = engine_used(speaker)
        self.synthesised = 0

    def take(self, text: str, voice: str, rate: float) -> Take:
        """Return the cached take, or speak it now. Raises StageError `engine_failed` or `out_of_memory`, OSError."""
        material = [text, self._language, voice, rate, self._engine.name, self._engine.version, self._engine.digest]
        key = hashlib.sha256(json.dumps(material).encode()).hexdigest()
        path = self._path_of(key)
        if not path.exists():
            with working(self._speaker):
                samples, sample_rate = self._speaker.synthesize(text, self._language, voice, rate)
            self.synthesised += 1
            with atomic_path(path) as temporary:
                # Its float WAVs carry a time.
                soundfile.write(temporary, samples, sample_rate, format="WAV", subtype="PCM_24")
        with readable(path, None, path.parent) as plain:
            info = soundfile.info(plain)
        return Take(key, path, info.frames / info.samplerate)


def take_path(context: StageContext, key: str) -> Path:
    """Return where a take is cached: among the owner's, or in the job's own files if its words must not outlive it."""
    job = context.command.job
    return context.layout.take(job.owner, key) if job.keeping.transcript else context.paths.own_take(key)


def run(context: StageContext) -> StageResult:
    """Raises StageError `nothing_spoken`, `engine_failed` or `out_of_memory`, EngineError, FfmpegError, OSError."""
    translation = Translation.model_validate_json(context.input("translation").read_bytes())
    duration_s = float(context.command.facts["duration_s"])
    speaker = chosen(context.command, context.engines)
    context.progress(0.0, "loading the voice")
    context.load(speaker)
    language = context.command.job.tgt_lang
    voice = speaker.default_voice(language)
    cache = TakeCache(partial(take_path, context), speaker, language)
    slots = plan_slots([(line.start, line.end) for line in translation.segments], duration_s=duration_s)

    lines: list[SpokenLine] = []
    issues: list[Issue] = []
    with dialogue_track(context.ffmpeg, context.paths.dialogue, duration_s) as track:
        for done, (line, slot) in enumerate(zip(translation.segments, slots, strict=True)):
            context.progress(done / len(slots), f"line {done + 1} of {len(slots)}")
            try:
                spoken, cut = speak(context, cache, track, line, slot, voice)
            except StageError as error:
                if error.code == OUT_OF_MEMORY:
                    raise
                issues.append(Issue(code="line_not_spoken", stage="tts", segment=line.index))
                continue
            lines.append(spoken)
            if cut or not spoken.fits:
                issues.append(Issue(code="line_overruns", stage="tts", segment=line.index))
    if not lines:
        if any(is_speakable(line.text) for line in translation.segments):
            raise StageError(
                "engine_failed", f"{speaker.name} could not speak any line", retryable=True, engine=speaker.name
            )
        raise StageError("nothing_spoken", "no line of the translation has anything to say")
    manifest = SpeechManifest(sample_rate=SAMPLE_RATE, duration_s=duration_s, voice=voice, lines=lines)
    manifest.write(context.paths.speech_manifest)
    if setting(context.command, "fast_voice") and not speaker.fast:
        detail = f"{speaker.name} spoke: no fast voice here speaks {language!r}"
        issues.append(Issue(code="no_fast_voice", stage="tts", detail=detail))
    outputs = [
        describe("dialogue", context.paths.dialogue, context.paths.output_root),
        describe("tts_manifest", context.paths.speech_manifest, context.paths.output_root),
    ]
    facts: dict[str, Fact] = {
        "voice": voice,
        "lines": len(lines),
        "takes_synthesised": cache.synthesised,
        "max_stretch": round(max(line.stretch for line in lines), 3),
    }
    return StageResult(outputs, facts, issues)


def speak(
    context: StageContext,
    cache: TakeCache,
    track: NDArray[np.float32],
    line: TranslatedSegment,
    slot: Slot,
    voice: str,
) -> tuple[SpokenLine, bool]:
    """Put one line on the track; also return whether its end lies beyond the track.

    Without `timing_fit` a line is spoken once, at the voice's own pace, and only stretched into its time.
    """
    take = cache.take(line.text, voice, 1.0)
    rate = round(plan_rate(take.natural_s, slot), 3) if setting(context.command, "timing_fit") else 1.0
    if rate != 1.0:
        take = cache.take(line.text, voice, rate)
    placement: Placement = place(take.natural_s, slot, engine_rate=rate)
    with readable(take.path, None, context.paths.work) as plain:
        samples = stretched(context.ffmpeg, plain, placement.stretch, SAMPLE_RATE)
    end = placement.start + len(samples) / SAMPLE_RATE
    left_out = mix_into(track, with_edge_fades(samples, sample_rate=SAMPLE_RATE), round(slot.start * SAMPLE_RATE))
    spoken = SpokenLine(
        index=line.index,
        start=round(placement.start, 3),
        end=round(end, 3),
        slot_end=round(placement.slot_end, 3),
        text=line.text,
        voice=voice,
        natural_s=round(take.natural_s, 3),
        engine_rate=rate,
        stretch=round(placement.stretch, 4),
        fits=placement.fits,
        take=take.key,
    )
    return spoken, left_out > 0


@contextmanager
def dialogue_track(ffmpeg: Ffmpeg, target: Path, duration_s: float) -> Iterator[NDArray[np.float32]]:
    """Yield a silent 48 kHz mono track to mix into, then publish it as a float WAV.

    The track is mapped from a temporary file: a two-hour film's is 1.4 GB and need not fit into memory. ffmpeg writes
    the WAV because libsndfile puts the time of day into float ones, and the same speech must give the same bytes.
    """
    samples = round(duration_s * SAMPLE_RATE)
    with temporary_path(target) as raw, atomic_path(target) as temporary:
        track = np.memmap(raw, dtype="<f4", mode="w+", shape=(samples,))
        yield track
        with ffmpeg.writing(wav_arguments(temporary)) as (pipe, _log):
            for first in range(0, samples, _COPY_BLOCK):
                pipe.write(track[first : first + _COPY_BLOCK].tobytes())
        del track


def wav_arguments(target: Path) -> list[str]:
    """Return the arguments that make a bit-exact float WAV of raw mono samples on standard input."""
    sound = graph.input("pipe:0", f="f32le", ar=SAMPLE_RATE, ac=1)
    made = graph.output(sound, f"{FILE}{target}", f="wav", rf64="auto", acodec="pcm_f32le", **EXACT)
    arguments: list[str] = made.get_args()
    return arguments
