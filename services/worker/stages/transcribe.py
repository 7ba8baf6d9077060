"""The transcribe stage: what was said, word by word, cut into units of dubbing.

Lives here: the stage. Does not live here: recognition (`engines`), segmentation and onsets (`dubbing`).
"""

import numpy as np
import soundfile
from numpy.typing import NDArray

from services.worker.dubbing.onset import refine_onsets
from services.worker.dubbing.segmentation import RecognisedRun, segment_words
from services.worker.engines.protocols import ASR_SAMPLE_RATE, AsrEngine, AsrResult, AsrSegment
from services.worker.engines.registry import Engines, engine_used
from services.worker.stages.base import Fact, StageContext, StageError, StageResult, device_of, setting, working
from shared.artifacts import describe
from shared.commands import StageCommand
from shared.events.types import EngineUsed, Issue
from shared.manifests import Transcript, Word

LOW_CONFIDENCE_LOGPROB = -1.05
"""Average log probability below which a line is flagged: the predecessor's QA threshold for failing."""


def params(command: StageCommand) -> dict[str, Fact]:
    return {"src_lang": command.job.src_lang, "asr_beam": setting(command, "asr_beam")}


def engine(command: StageCommand, engines: Engines) -> EngineUsed:
    return engine_used(chosen(command, engines))


def chosen(command: StageCommand, engines: Engines) -> AsrEngine:
    """Return the recogniser for this command. Raises EngineError."""
    return engines.asr(device_of(command), model=str(setting(command, "asr_model")), avoid=command.avoid)


def run(context: StageContext) -> StageResult:
    """Raises StageError `no_speech`, `engine_failed` or `out_of_memory`, EngineError, OSError."""
    command = context.command
    recogniser = chosen(command, context.engines)
    context.progress(0.0, "loading the recogniser")
    context.load(recogniser)
    pcm = read_pcm(context)
    language = None if command.job.src_lang == "auto" else command.job.src_lang
    beam = int(setting(command, "asr_beam"))
    with working(recogniser):
        heard = recogniser.transcribe(pcm, language, lambda done: context.progress(done, "transcribing"), beam=beam)
    runs = [recognised_run(segment) for segment in heard.segments]
    segments = refine_onsets(segment_words(runs, duration_s=heard.duration_s), pcm)
    if not segments:
        raise StageError("no_speech", "no speech was recognised in the audio track")
    transcript = Transcript(
        language=heard.language,
        language_probability=round(heard.language_probability, 4),
        duration_s=heard.duration_s,
        segments=segments,
    )
    transcript.write(context.paths.transcript)
    issues = [
        Issue(code="low_asr_confidence", stage="transcribe", segment=segment.index)
        for segment in segments
        if segment.avg_logprob < LOW_CONFIDENCE_LOGPROB
    ]
    artifact = describe("transcript", context.paths.transcript, context.paths.output_root)
    return StageResult([artifact], facts(heard, len(segments)), issues)


def facts(heard: AsrResult, segments: int) -> dict[str, Fact]:
    """Return what other stages and the page want to know of a transcript."""
    return {
        "language": heard.language,
        "language_probability": round(heard.language_probability, 4),
        "segments": segments,
        "speech_s": round(heard.speech_s, 2),
    }


def read_pcm(context: StageContext) -> NDArray[np.float32]:
    """Return the source's speech as mono float32 at 16 kHz, shape (samples,)."""
    pcm, rate = soundfile.read(context.input("asr_audio"), dtype="float32")
    if rate != ASR_SAMPLE_RATE or pcm.ndim != 1:
        raise StageError("bad_input", f"the recogniser wants mono at {ASR_SAMPLE_RATE} Hz")
    samples: NDArray[np.float32] = pcm
    return samples


def recognised_run(segment: AsrSegment) -> RecognisedRun:
    """Return the words of a recogniser's segment; one word that spans it where the engine gave none."""
    words = [Word(start=w.start, end=w.end, text=w.text, probability=w.probability) for w in segment.words]
    if not words and segment.text.strip():
        words = [Word(start=segment.start, end=segment.end, text=segment.text, probability=0.0)]
    return RecognisedRun(words, segment.avg_logprob)
