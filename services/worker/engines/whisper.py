"""Speech to text, and any of its languages to English text: Whisper through faster-whisper.

Lives here: the adapter, and where and how precisely it computes. Does not live here: the weights
(`services.worker.models`, entries `whisper-<size>`; `EngineOptions.asr_model` says which), nor cutting a transcript
into lines (`services.worker.dubbing`).
"""

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import structlog

from services.worker.engines import packages
from services.worker.engines.memory import with_weights
from services.worker.engines.onsets import snap_words
from services.worker.engines.protocols import (
    ASR_SAMPLE_RATE,
    DEFAULT_BEAM,
    AsrResult,
    AsrSegment,
    EngineError,
    EngineOptions,
    Progress,
    Samples,
    Word,
)
from services.worker.models.manifest import Model, load_lock
from services.worker.models.resolver import FETCH_COMMAND, ModelError, is_present, resolve
from shared.events.names import Device

DISTRIBUTION = "faster-whisper"
VAD = {"min_silence_duration_ms": 1000, "speech_pad_ms": 300}
"""Pauses of a second and more are cut out before recognition, because Whisper invents words in them; shorter ones
stay, because the rhythm of speech helps it to set commas and full stops."""
EDGES = {"min_silence_duration_ms": 100, "speech_pad_ms": 0}
"""For exact onsets: every pause, and no padding (`onsets`). A second pass of the detector, 1 % of real time."""
SEED = 0
"""The fallback temperatures sample; the same audio shall still give the same transcript."""
CUDA_TYPES = ("float16", "int8_float16", "float32")
"""In order of preference: the weights are stored as float16; old cards compute only in float32."""

UNDETERMINED = "und"
"""BCP 47 for an unknown language."""
WHISPER_TO_BCP47 = {"jw": "jv"}
"""Whisper's one code that is no BCP 47 subtag (Javanese)."""
BCP47_TO_WHISPER = {bcp47: whisper for whisper, bcp47 in WHISPER_TO_BCP47.items()}
_CODES = (
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id "
    "is it ja jv ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd "
    "si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo zh"
)
LANGUAGES = frozenset(_CODES.split())

log = structlog.get_logger()

Compute = tuple[str, str]
"""Device ("cuda", "cpu") and CTranslate2 compute type."""
M = TypeVar("M")


def compute_choices(wanted: Device, cuda_types: Collection[str]) -> list[Compute]:
    """Return where to try to compute, best first; empty if what is wanted is not there.

    `cuda_types` are the compute types that the CUDA devices support, empty without any. The CPU computes in int8:
    the same words as float32 at half the time and memory.
    """
    cuda = [("cuda", kind) for kind in CUDA_TYPES if kind in cuda_types][:1]
    cpu = [("cpu", "int8")]
    return {"auto": cuda + cpu, "cuda": cuda, "cpu": cpu}[wanted]


def first_working(choices: Sequence[Compute], build: Callable[[str, str], M]) -> tuple[M, str]:
    """Return the first model that can be built and the device it is on. Raises EngineError with the last reason.

    A CUDA device may be there without the libraries that CTranslate2 needs, which it says by RuntimeError at first use.
    """
    reason = "no device fits"
    for device, compute_type in choices:
        try:
            return build(device, compute_type), device
        except (RuntimeError, ValueError) as error:
            reason = f"{device} {compute_type}: {error}"
            log.warning("whisper_device_unusable", device=device, compute_type=compute_type, reason=str(error))
    raise EngineError(f"whisper could not be loaded ({reason})")


def _cuda_types() -> set[str]:
    """Return what the CUDA devices of this machine can compute in, empty without any."""
    import ctranslate2  # noqa: PLC0415 -- heavy, and optional

    return ctranslate2.get_supported_compute_types("cuda") if ctranslate2.get_cuda_device_count() > 0 else set()


def build_model(directory: Path, device: str, compute_type: str, cpu_threads: int) -> Any:
    """Return a model that has computed once on that device. Raises RuntimeError, ValueError."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the library must never look for anything elsewhere
    import numpy as np  # noqa: PLC0415 -- with the rest
    from faster_whisper import WhisperModel  # noqa: PLC0415 -- heavy, and optional

    model = WhisperModel(
        str(directory), device=device, compute_type=compute_type, cpu_threads=cpu_threads, local_files_only=True
    )
    if device == "cuda":
        frames = model.feature_extractor.nb_max_frames
        model.encode(np.zeros((model.model.n_mels, frames), np.float32))
    return model


class Whisper:
    """See `services.worker.engines.protocols.AsrEngine`."""

    kind = "asr"
    name = "whisper"
    preference = 50

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._model: Any = None
        self._device: str | None = None
        self.version = packages.version(DISTRIBUTION)

    def available(self) -> str | None:
        reason = packages.missing("faster_whisper", DISTRIBUTION)
        if reason is None and (model := self._locked()) is None:
            return f"model {self._options.asr_model} is not in the lock file: choose whisper-base"
        if reason is None and model is not None and not is_present(model, self._options.models_dir):
            return f"model {model.id} is not in {self._options.models_dir}: run `{FETCH_COMMAND} {model.id}`"
        if reason is None and self._options.device == "cuda" and not _cuda_types():
            return "no CUDA device can be seen: choose device auto or cpu"
        return reason

    def device(self) -> str:
        if self._device is None:
            wanted = self._options.device
            choices = compute_choices(wanted, set() if wanted == "cpu" else _cuda_types())
            self._device = choices[0][0] if choices else wanted
        return self._device

    def digest(self) -> str:
        model = self._locked()
        return model.digest if model else ""

    def memory(self) -> int:
        model = self._locked()
        return with_weights(model.size) if model else 0

    def _locked(self) -> Model | None:
        """Return what the lock file knows of the model, None if nothing."""
        return next((model for model in load_lock().models if model.id == self._options.asr_model), None)

    def load(self) -> None:
        if self._model is not None:
            return
        if reason := self.available():
            raise EngineError(f"whisper: {reason}")
        try:
            directory = resolve(self._options.asr_model, self._options.models_dir)
        except ModelError as error:
            raise EngineError(str(error)) from error
        wanted = self._options.device
        self._model, self._device = first_working(
            compute_choices(wanted, set() if wanted == "cpu" else _cuda_types()),
            lambda device, compute_type: build_model(directory, device, compute_type, self._options.cpu_threads),
        )

    def loaded(self) -> bool:
        return self._model is not None

    def unload(self) -> None:
        self._model = None

    def languages(self) -> frozenset[str]:
        return LANGUAGES

    def transcribe(
        self, pcm: Samples, language: str | None, progress: Progress, *, beam: int = DEFAULT_BEAM
    ) -> AsrResult:
        return self._run("transcribe", pcm, language, progress, beam)

    def translate_to_english(
        self, pcm: Samples, language: str | None, progress: Progress, *, beam: int = DEFAULT_BEAM
    ) -> AsrResult:
        return self._run("translate", pcm, language, progress, beam)

    def _run(
        self,
        task: Literal["transcribe", "translate"],
        pcm: Samples,
        language: str | None,
        progress: Progress,
        beam: int,
    ) -> AsrResult:
        if language is not None and language not in LANGUAGES:
            raise EngineError(f"whisper does not know the language {language!r}")
        self.load()
        duration_s = len(pcm) / ASR_SAMPLE_RATE
        import ctranslate2  # noqa: PLC0415 -- heavy, and optional

        ctranslate2.set_random_seed(SEED)
        found, info = self._model.transcribe(
            pcm,
            task=task,
            language=BCP47_TO_WHISPER.get(language, language) if language else None,
            beam_size=beam,
            vad_filter=True,
            vad_parameters=VAD,
            # The words of a translation are not in the order in which they were said: times for them mean nothing.
            word_timestamps=task == "transcribe",
            # One window's mistake must not run through the rest of a long video.
            condition_on_previous_text=False,
        )
        segments = []
        for segment in found:
            segments.append(_segment(segment))
            progress(min(1.0, segment.end / duration_s))
        progress(1.0)
        if info.duration_after_vad == 0.0:  # the language that it names for silence means nothing
            return AsrResult(language or UNDETERMINED, 0.0, (), duration_s, 0.0)
        return AsrResult(
            language=WHISPER_TO_BCP47.get(info.language, info.language),
            language_probability=float(info.language_probability),
            segments=_with_exact_edges(segments, pcm),
            duration_s=duration_s,
            speech_s=float(info.duration_after_vad),
        )


def _with_exact_edges(segments: Sequence[AsrSegment], pcm: Samples) -> tuple[AsrSegment, ...]:
    """Return the segments with their words' times corrected; those without words as they are."""
    if not any(segment.words for segment in segments):
        return tuple(segments)
    from faster_whisper.vad import VadOptions, get_speech_timestamps  # noqa: PLC0415 -- heavy, and optional

    found = get_speech_timestamps(pcm, VadOptions(**EDGES))
    regions = [(region["start"] / ASR_SAMPLE_RATE, region["end"] / ASR_SAMPLE_RATE) for region in found]
    words = iter(snap_words([word for segment in segments for word in segment.words], regions))
    corrected = []
    for segment in segments:
        own = tuple(islice(words, len(segment.words)))
        corrected.append(replace(segment, words=own, start=own[0].start, end=own[-1].end) if own else segment)
    return tuple(corrected)


def _segment(found: Any) -> AsrSegment:
    words = tuple(
        Word(float(word.start), float(word.end), str(word.word), float(word.probability)) for word in found.words or ()
    )
    return AsrSegment(
        start=float(found.start),
        end=float(found.end),
        text=str(found.text),
        words=words,
        avg_logprob=float(found.avg_logprob),
        no_speech_prob=float(found.no_speech_prob),
    )
