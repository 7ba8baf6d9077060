"""Speech in six languages: Kokoro-82M through kokoro-onnx.

Lives here: the adapter, its voices, and how text becomes phonemes (hibari's own rules for English where installed,
espeak for the rest). Does not live here: the weights (`services.worker.models`, entry "kokoro").
"""

import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.worker.engines import packages
from services.worker.engines.memory import with_weights
from services.worker.engines.protocols import EngineError, EngineOptions, Samples
from services.worker.engines.takes import is_speakable, trim_silence
from services.worker.models.manifest import load_lock
from services.worker.models.resolver import FETCH_COMMAND, ModelError, is_present, resolve

DISTRIBUTION = "kokoro-onnx"
MODEL_ID = "kokoro"
SLOWEST, FASTEST = 0.5, 2.0
"""kokoro-onnx's own limits of its speed argument."""
ESPEAK_PATH_MAX = 140
"""espeak-ng keeps its data path in 160 bytes, its own file names included."""
BRITISH = "b"
"""First letter of the British voices."""
NO_SPINNING = ("session.intra_op.allow_spinning", "0")
"""Idle threads sleep: by default they spin for a while after each run and slow down what comes next."""
QUIET_ORT = 3
"""onnxruntime's severity "error"."""


@dataclass(frozen=True)
class Speech:
    """One language: the name that espeak gives it, and its voices, the default one first."""

    espeak: str
    voices: tuple[str, ...]


LANGUAGES = {
    "en": Speech(
        "en-us",
        (
            *("af_heart", "af_alloy", "af_aoede", "af_bella", "af_jessica", "af_kore", "af_nicole", "af_nova"),
            *("af_river", "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam"),
            *("am_michael", "am_onyx", "am_puck", "am_santa", "bf_alice", "bf_emma", "bf_isabella", "bf_lily"),
            *("bm_daniel", "bm_fable", "bm_george", "bm_lewis"),
        ),
    ),
    "es": Speech("es", ("ef_dora", "em_alex", "em_santa")),
    "fr": Speech("fr-fr", ("ff_siwis",)),
    "hi": Speech("hi", ("hf_alpha", "hf_beta", "hm_omega", "hm_psi")),
    "it": Speech("it", ("if_sara", "im_nicola")),
    "pt": Speech("pt-br", ("pf_dora", "pm_alex", "pm_santa")),
}


class Kokoro:
    """See `services.worker.engines.protocols.TtsEngine`."""

    kind = "tts"
    name = "kokoro"
    preference = 50
    fast = False

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._model: Any = None
        self._phonemizers: dict[str, Any] = {}
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        # The English rules decide what is said, so a change of them must change the stage's key.
        self.version = "+".join(filter(None, (packages.version(DISTRIBUTION), packages.version("hibari-tts"))))

    def available(self) -> str | None:
        reason = packages.missing("kokoro_onnx", DISTRIBUTION)
        if reason is None and not is_present(load_lock().model(MODEL_ID), self._options.models_dir):
            return f"model {MODEL_ID} is not in {self._options.models_dir}: run `{FETCH_COMMAND} {MODEL_ID}`"
        return reason

    def device(self) -> str:
        return "cpu"

    def digest(self) -> str:
        return load_lock().model(MODEL_ID).digest

    def memory(self) -> int:
        return with_weights(load_lock().model(MODEL_ID).size)

    def load(self) -> None:
        if self._model is not None:
            return
        if reason := packages.missing("kokoro_onnx", DISTRIBUTION):
            raise EngineError(f"kokoro: {reason}")
        try:
            directory = resolve(MODEL_ID, self._options.models_dir)
        except ModelError as error:
            raise EngineError(str(error)) from error
        import espeakng_loader  # noqa: PLC0415 -- comes with kokoro-onnx
        import onnxruntime  # noqa: PLC0415 -- heavy, and optional
        from kokoro_onnx import Kokoro as Model  # noqa: PLC0415 -- heavy, and optional
        from kokoro_onnx.config import EspeakConfig  # noqa: PLC0415 -- heavy, and optional

        # At LOG_LEVEL=DEBUG, which is ours too, the package would log phonemes; lines are a user's private text.
        logging.getLogger("kokoro_onnx").setLevel(logging.WARNING)
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = self._options.cpu_threads
        session_options.inter_op_num_threads = 1
        session_options.add_session_config_entry(*NO_SPINNING)
        session_options.log_severity_level = QUIET_ORT
        session = onnxruntime.InferenceSession(
            str(directory / "model.onnx"), session_options, providers=["CPUExecutionProvider"]
        )
        espeak = EspeakConfig(data_path=str(self._short(Path(espeakng_loader.get_data_path()))))
        self._model = Model.from_session(session, str(directory / "voices.npz"), espeak)

    def _short(self, path: Path) -> Path:
        """Return a path to espeak's data that it can hold; a longer one makes it end the whole process.

        A copy where needed (18 MB), because the wrapper would resolve a link.
        """
        if len(str(path)) <= ESPEAK_PATH_MAX:
            return path
        self._copy = tempfile.TemporaryDirectory(prefix="dubline-")
        short = Path(self._copy.name) / path.name
        if len(str(short)) > ESPEAK_PATH_MAX:
            raise EngineError("kokoro: this installation's path is too long for espeak: set TMPDIR to a short one")
        shutil.copytree(path, short)
        return short

    def loaded(self) -> bool:
        return self._model is not None

    def unload(self) -> None:
        self._model = None
        self._phonemizers.clear()
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    def languages(self) -> frozenset[str]:
        return frozenset(LANGUAGES)

    def voices(self, language: str) -> list[str]:
        return list(LANGUAGES[language].voices) if language in LANGUAGES else []

    def default_voice(self, language: str) -> str:
        if language not in LANGUAGES:
            raise EngineError(f"kokoro does not speak {language!r}")
        return LANGUAGES[language].voices[0]

    def synthesize(self, text: str, language: str, voice: str, rate: float) -> tuple[Samples, int]:
        """Return speech at 24 kHz; `rate` within 0.5 to 2.0."""
        if voice not in self.voices(language):
            raise EngineError(f"kokoro has no voice {voice!r} for {language!r}")
        if not SLOWEST <= rate <= FASTEST:
            raise EngineError(f"kokoro speaks at {SLOWEST} to {FASTEST} times its pace, not {rate}")
        if not is_speakable(text):
            raise EngineError("kokoro: the text has nothing that can be spoken")
        self.load()
        phonemes = self._phonemes(text, language, voice)
        if not self._model.tokenizer.tokenize(phonemes, limit=None):  # letters, but not of a script that it reads
            raise EngineError(f"kokoro: nothing in the text can be spoken in {language!r}")
        samples, sample_rate = self._model.create(phonemes, voice=voice, speed=rate, is_phonemes=True)
        return trim_silence(samples, sample_rate), int(sample_rate)

    def _phonemes(self, text: str, language: str, voice: str) -> str:
        if language == "en" and packages.missing("hibari", "hibari-tts") is None:
            return self._english(text, british=voice.startswith(BRITISH))
        if language not in self._phonemizers:
            self._phonemizers[language] = _espeak(LANGUAGES[language].espeak)
        # One item in, one out; an empty text gives an empty list.
        return " ".join(self._phonemizers[language].phonemize([" ".join(text.split())], strip=True))

    def _english(self, text: str, *, british: bool) -> str:
        from hibari import Hibari  # noqa: PLC0415 -- optional
        from hibari.g2p import G2P  # noqa: PLC0415 -- optional

        key = f"hibari {british=}"
        if key not in self._phonemizers:
            self._phonemizers[key] = G2P(british=british)
        to_phonemes = self._phonemizers[key]
        return " ".join(filter(None, (to_phonemes(sentence) for sentence in Hibari.split_sentences(text))))


def _espeak(language: str) -> Any:
    """Return a phonemizer. kokoro-onnx's own call keeps "(en)" marks where the language switches, and speaks them."""
    from phonemizer.backend import EspeakBackend  # noqa: PLC0415 -- optional

    logger = logging.getLogger("dubline.espeak")
    logger.setLevel(logging.ERROR)
    return EspeakBackend(
        language, preserve_punctuation=True, with_stress=True, language_switch="remove-flags", logger=logger
    )
