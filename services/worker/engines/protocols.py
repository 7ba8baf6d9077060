"""What an engine of each kind offers, and the values it hands over.

Lives here: the Protocols that the registry finds engines by, and their results. Does not live here: any engine, nor
the choice between engines (`registry`).

Common to all kinds: `available()`, `languages()` or `pairs()`, `device()` and `digest()` are cheap (no heavy import,
no weights read), so that capabilities and stage keys cost nothing; `load()` may take seconds, is idempotent, and is
called by every method that needs the weights. Languages are BCP 47 primary subtags ("en", "pt"). Engines are not
thread-safe: a worker child runs one stage at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.worker.engines.memory import default_bound
from shared.events.names import Device

Samples = NDArray[np.float32]
"""Mono audio, full scale ±1.0. The rate stands beside it."""

DEFAULT_ASR_MODEL = "whisper-base"
"""The recogniser's weights of the default set."""
DEFAULT_BEAM = 5
"""Hypotheses that a recogniser follows at once; 1 is greedy, and takes the least memory."""

ASR_SAMPLE_RATE = 16_000
"""Hz; the only rate that ASR engines take."""

Progress = Callable[[float], None]
"""Told the fraction done, 0.0 to 1.0, never decreasing."""


class EngineError(RuntimeError):
    """An engine cannot do what it was asked; the message names the engine and says what to do, never the text.

    `engine` is its name where that is known: what the circuit breakers count.
    """

    def __init__(self, message: str, engine: str | None = None) -> None:
        super().__init__(message)
        self.engine = engine


@dataclass(frozen=True)
class EngineOptions:
    """What every engine class is constructed with: `EngineClass(options)`. Constructing one costs nothing.

    `asr_model` is the id of a recogniser's weights, of which one engine may have several sizes. `memory_bytes` bounds
    what all loaded engines take together.
    """

    models_dir: Path
    cpu_threads: int = 2
    device: Device = "auto"
    asr_model: str = DEFAULT_ASR_MODEL
    memory_bytes: int = field(default_factory=default_bound)


@dataclass(frozen=True)
class Word:
    """One recognised word, times in seconds. `text` keeps its leading space, so that joined words give the segment."""

    start: float
    end: float
    text: str
    probability: float


@dataclass(frozen=True)
class AsrSegment:
    """What the recogniser calls a segment, times in seconds. `words` is empty when it translates."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...]
    avg_logprob: float
    no_speech_prob: float


@dataclass(frozen=True)
class AsrResult:
    """A transcript. `speech_s` is how many seconds the voice detector heard: 0 means that nobody speaks."""

    language: str
    language_probability: float
    segments: tuple[AsrSegment, ...]
    duration_s: float
    speech_s: float


@dataclass(frozen=True)
class MtText:
    """One translated text, and the source words that the engine did not know and left as they were."""

    text: str
    unknown_words: tuple[str, ...] = ()


class Engine(Protocol):
    """What every kind has. `kind` is the last part of its entry point group: asr, tts, mt."""

    kind: str
    name: str
    version: str
    preference: int
    """The registry takes the lowest among usable engines; the default set has 50, so that others can come first."""

    def available(self) -> str | None:
        """Return None if usable, else a sentence: what is missing and what to do."""
        ...

    def device(self) -> str:
        """Return "cpu" or "cuda": where it runs, or would run once loaded."""
        ...

    def digest(self) -> str:
        """Return a hex digest over all its weights, known before they are read (part of a stage's key)."""
        ...

    def memory(self) -> int:
        """Return about how many bytes it takes once loaded, known before; 0 for an engine that keeps nothing."""
        ...

    def load(self) -> None:
        """Bring the weights into memory and keep them. Raises EngineError."""
        ...

    def loaded(self) -> bool:
        """Return whether its weights are in memory; always False for an engine that keeps none."""
        ...

    def unload(self) -> None:
        """Let go of the weights; the next call loads again."""
        ...


class AsrEngine(Engine, Protocol):
    """Speech to text."""

    def languages(self) -> frozenset[str]:
        """Return the languages that it transcribes."""
        ...

    def transcribe(
        self, pcm: Samples, language: str | None, progress: Progress, *, beam: int = DEFAULT_BEAM
    ) -> AsrResult:
        """Return the transcript with words of 16 kHz audio; the language is detected when None. Raises EngineError."""
        ...

    def translate_to_english(
        self, pcm: Samples, language: str | None, progress: Progress, *, beam: int = DEFAULT_BEAM
    ) -> AsrResult:
        """Return segments of English text for 16 kHz audio in any of its languages. Raises EngineError."""
        ...


class TtsEngine(Engine, Protocol):
    """Text to speech."""

    fast: bool
    """Whether it is meant for mode `low`: many times faster than real time."""

    def languages(self) -> frozenset[str]:
        """Return the languages that it speaks."""
        ...

    def voices(self, language: str) -> list[str]:
        """Return the voice names of a language, the default one first; empty if it does not speak it."""
        ...

    def default_voice(self, language: str) -> str:
        """Return the voice used when nobody chose one. Raises EngineError if it does not speak the language."""
        ...

    def synthesize(self, text: str, language: str, voice: str, rate: float) -> tuple[Samples, int]:
        """Return the spoken text, edges trimmed, and its sample rate in Hz.

        `rate` is speed (1.0 natural, 1.2 faster). An engine without that control ignores it: measure the result.
        Raises EngineError for a language or voice that it does not have, and for text with nothing to say.
        """
        ...


class MtEngine(Engine, Protocol):
    """Text translation. A route may chain several of them (`services.worker.engines.routes`)."""

    def pairs(self) -> frozenset[tuple[str, str]]:
        """Return the (source, target) pairs it can serve now; empty when unavailable."""
        ...

    def cost(self, source: str, target: str) -> float:
        """Return the quality cost of a step between two of its languages, lower is better (`routes` has the scale)."""
        ...

    def translate(self, texts: list[str], source: str, target: str) -> list[MtText]:
        """Return one translation per text, in order. Raises EngineError for a pair it does not serve."""
        ...
