"""Any local model of Coqui TTS (the maintained fork, coqui-tts): VITS, XTTS and the others behind `TTS.api`.

Lives here: the adapter for one configured model directory. Nothing is downloaded, and no licence is agreed to on
anybody's behalf: whoever configures a model has it and its terms. Optional: requirements-coqui.lock.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from services.worker.engines import packages
from services.worker.engines.memory import with_weights
from services.worker.engines.protocols import EngineError, EngineOptions, Samples
from services.worker.engines.takes import is_speakable, trim_silence
from shared.artifacts import sha256_file

DISTRIBUTION = "coqui-tts"
MODEL_VARIABLE = "DUBLINE_COQUI_MODEL"
LANGUAGES_VARIABLE = "DUBLINE_COQUI_LANGUAGES"
CONFIG, WEIGHTS = "config.json", "model.pth"
DEFAULT_VOICE = "default"
"""The model's own voice; of several speakers the first."""

LOADS_A_DIRECTORY = frozenset({"xtts"})
"""Model types that find vocabulary and speakers beside their weights, and want the directory."""
UNSAFE = frozenset({"bark"})
"""Model types that coqui-tts reads with an unrestricted unpickler: such a file could run code."""


class Coqui:
    """See `services.worker.engines.protocols.TtsEngine`."""

    kind = "tts"
    name = "coqui"
    preference = 40  # nobody configures it by accident: it comes before the default set
    fast = False

    def __init__(self, options: EngineOptions, environment: Mapping[str, str] = os.environ) -> None:
        self._options = options
        self._directory = Path(environment[MODEL_VARIABLE]) if environment.get(MODEL_VARIABLE) else None
        self._languages = frozenset(environment.get(LANGUAGES_VARIABLE, "").replace(",", " ").split())
        self._model: Any = None
        self._digest = ""
        self.version = packages.version(DISTRIBUTION)

    def available(self) -> str | None:
        if not self.version:
            return f"the Python package {DISTRIBUTION} is not installed: run the worker in requirements-coqui.lock"
        if self._directory is None:
            return f"no model is configured: set {MODEL_VARIABLE} to a directory with {CONFIG} and {WEIGHTS}"
        for name in (CONFIG, WEIGHTS):
            if not (self._directory / name).is_file():
                return f"{MODEL_VARIABLE}: there is no {name} in {self._directory}"
        if not self._languages:
            return f"set {LANGUAGES_VARIABLE} to the languages that the model speaks, as in `en,pt`"
        if self._type() in UNSAFE:
            return f"{MODEL_VARIABLE}: models of type {self._type()} are not loaded, because their files can run code"
        return None

    def device(self) -> str:
        if self._options.device != "auto":
            return self._options.device
        if packages.missing("torch", "torch"):
            return "cpu"
        import torch  # noqa: PLC0415 -- heavy, and optional

        return "cuda" if torch.cuda.is_available() else "cpu"

    def digest(self) -> str:
        """Return a digest over the model's files, read once: they come from no lock that could tell it."""
        if not self._digest and self._directory is not None:
            files = sorted(file for file in self._directory.iterdir() if file.is_file())
            lines = [f"{file.name} {sha256_file(file)}" for file in files]
            self._digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return self._digest

    def memory(self) -> int:
        return with_weights((self._directory / WEIGHTS).stat().st_size) if self._directory is not None else 0

    def load(self) -> None:
        if self._model is not None:
            return
        if reason := self.available():
            raise EngineError(f"coqui: {reason}")
        assert self._directory is not None
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the library must never look for anything elsewhere
        from TTS.api import TTS  # noqa: PLC0415 -- heavy, and optional

        weights = self._directory if self._type() in LOADS_A_DIRECTORY else self._directory / WEIGHTS
        try:
            model = TTS(model_path=str(weights), config_path=str(self._directory / CONFIG), progress_bar=False)
            self._model = model.to(self.device())
        except Exception as error:  # a model type may raise anything over a file that is not its own
            raise EngineError(
                f"coqui: the model in {self._directory} cannot be loaded: {type(error).__name__}"
            ) from error

    def loaded(self) -> bool:
        return self._model is not None

    def unload(self) -> None:
        self._model = None

    def languages(self) -> frozenset[str]:
        return self._languages

    def voices(self, language: str) -> list[str]:
        return [DEFAULT_VOICE] if language in self._languages else []

    def default_voice(self, language: str) -> str:
        if language not in self._languages:
            raise EngineError(f"coqui: the model is not configured for {language!r}")
        return DEFAULT_VOICE

    def synthesize(self, text: str, language: str, voice: str, rate: float) -> tuple[Samples, int]:  # noqa: ARG002 -- the engines' common signature
        """Return speech at the model's own rate. The API has no control of pace common to all models."""
        if voice not in self.voices(language):
            raise EngineError(f"coqui has no voice {voice!r} for {language!r}")
        if not is_speakable(text):
            raise EngineError("coqui: the text has nothing that can be spoken")
        self.load()
        choice: dict[str, str] = {}
        if self._model.is_multi_lingual:
            choice["language"] = language
        if self._model.is_multi_speaker:
            choice["speaker"] = self._model.speakers[0]
        try:
            spoken = self._model.tts(text, **choice)
        except (RuntimeError, ValueError, KeyError) as error:
            raise EngineError(f"coqui failed with {type(error).__name__}") from error
        sample_rate = int(self._model.synthesizer.output_sample_rate)
        samples = trim_silence(np.asarray(spoken, np.float32).reshape(-1), sample_rate)
        if samples.size == 0:
            raise EngineError("coqui: the model made no sound of the text")
        return samples, sample_rate

    def _type(self) -> str:
        """Return what kind of model the configuration describes."""
        assert self._directory is not None
        return str(json.loads((self._directory / CONFIG).read_bytes()).get("model", ""))
