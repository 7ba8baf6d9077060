"""English speech about a hundred times faster than real time: the hibari package, weights included.

Lives here: the adapter. The package's other voices download when first used, so only the bundled one is offered.
"""

from typing import Any

from services.worker.engines import packages
from services.worker.engines.memory import with_weights
from services.worker.engines.protocols import EngineError, EngineOptions, Samples
from services.worker.engines.takes import is_speakable, trim_silence

DISTRIBUTION = "hibari-tts"
WEIGHTS = "assets/hibari.onnx"
VOICE = "heart"
SEED = 0
"""Fixes the noise component: the same text gives the same samples, so a stage's result can be reused."""
SLOWEST, FASTEST = 0.5, 2.0


class Hibari:
    """See `services.worker.engines.protocols.TtsEngine`."""

    kind = "tts"
    name = "hibari"
    preference = 50
    fast = True

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._model: Any = None
        self.version = packages.version(DISTRIBUTION)

    def available(self) -> str | None:
        return packages.missing("hibari", DISTRIBUTION)

    def device(self) -> str:
        return "cpu"

    def digest(self) -> str:
        return packages.recorded_sha256(DISTRIBUTION, WEIGHTS)

    def memory(self) -> int:
        return with_weights(packages.recorded_size(DISTRIBUTION, WEIGHTS))

    def load(self) -> None:
        if self._model is not None:
            return
        if reason := self.available():
            raise EngineError(f"hibari: {reason}")
        from hibari import Hibari as Model  # noqa: PLC0415 -- heavy, and optional

        self._model = Model(voice=VOICE, threads=self._options.cpu_threads)

    def loaded(self) -> bool:
        return self._model is not None

    def unload(self) -> None:
        self._model = None

    def languages(self) -> frozenset[str]:
        return frozenset({"en"})

    def voices(self, language: str) -> list[str]:
        return [VOICE] if language == "en" else []

    def default_voice(self, language: str) -> str:
        if language != "en":
            raise EngineError(f"hibari speaks English only, not {language!r}")
        return VOICE

    def synthesize(self, text: str, language: str, voice: str, rate: float) -> tuple[Samples, int]:
        """Return speech at 24 kHz; `rate` within 0.5 to 2.0."""
        if voice not in self.voices(language):
            raise EngineError(f"hibari has no voice {voice!r} for {language!r}")
        if not SLOWEST <= rate <= FASTEST:
            raise EngineError(f"hibari speaks at {SLOWEST} to {FASTEST} times its pace, not {rate}")
        if not is_speakable(text):
            raise EngineError("hibari: the text has nothing that can be spoken")
        self.load()
        samples: Samples = trim_silence(self._model(text, speed=rate, seed=SEED), self._model.sample_rate)
        return samples, int(self._model.sample_rate)
