"""The engines of one worker process: found, chosen, kept warm.

Lives here: finding engine classes by entry point (groups `dubline.engines.asr`, `.tts`, `.mt`), the order of choice,
and how many, and how much of them, stay in memory. Choosing costs nothing; `load` makes room. Does not live here: any
engine; which chain of translators serves a pair (`routes`).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any, Literal, Self, TypeVar

from services.worker.engines.protocols import AsrEngine, Engine, EngineError, EngineOptions, MtEngine, TtsEngine
from shared.capabilities import EngineStatus
from shared.events.names import Device
from shared.events.types import EngineUsed

Kind = Literal["asr", "mt", "tts"]
KINDS: tuple[Kind, ...] = ("asr", "mt", "tts")
GROUP = "dubline.engines."
MAX_LOADED = 3
"""Engines with weights in memory at once: the default set's recogniser, translator and voice, about 1 GB together."""

E = TypeVar("E", bound=Engine)

EngineFactory = Callable[[EngineOptions], Any]
"""An engine class of the kind that it is registered under."""


def engine_used(engine: Engine) -> EngineUsed:
    """Return what a stage's key and its event say of an engine, without loading it."""
    return EngineUsed(name=engine.name, version=engine.version, device=engine.device(), digest=engine.digest())


class Engines:
    """Every engine that is installed, constructed but not loaded. Not thread-safe."""

    def __init__(
        self, options: EngineOptions, factories: dict[Kind, Sequence[EngineFactory]], *, max_loaded: int = MAX_LOADED
    ) -> None:
        self._options = options
        self._factories = factories
        self._max_loaded = max_loaded
        self._made: dict[tuple[Kind, Device, str], list[Any]] = {}
        self._recent: list[Engine] = []

    @classmethod
    def installed(cls, options: EngineOptions, *, max_loaded: int = MAX_LOADED) -> Self:
        """Return the engines of all entry points. Raises ImportError if one names what is not there."""
        found: dict[Kind, Sequence[EngineFactory]] = {
            kind: [entry.load() for entry in sorted(entry_points(group=GROUP + kind), key=lambda entry: entry.name)]
            for kind in KINDS
        }
        return cls(options, found, max_loaded=max_loaded)

    def asr(self, device: Device | None = None, *, model: str | None = None, avoid: Collection[str] = ()) -> AsrEngine:
        """Return the recogniser to use, with this model's weights. Raises EngineError that says what is missing.

        An engine named in `avoid` is taken only where there is no other; so by all choices below.
        """
        engines: list[AsrEngine] = self._engines("asr", device, model)
        return self._first("asr", engines, "recognises speech", avoid)

    def tts(
        self, language: str, *, fast: bool = False, device: Device | None = None, avoid: Collection[str] = ()
    ) -> TtsEngine:
        """Return the voice engine for a language; a fast one first if `fast`, else last. Raises EngineError."""
        engines: list[TtsEngine] = self._engines("tts", device)
        speaking = sorted(
            (engine for engine in engines if language in engine.languages()), key=lambda engine: engine.fast != fast
        )
        return self._first("tts", speaking, f"speaks {language!r}", avoid)

    def mt(self, device: Device | None = None) -> list[MtEngine]:
        """Return every usable translator in order of preference."""
        engines: list[MtEngine] = self._engines("mt", device)
        return [engine for engine in engines if engine.available() is None]

    def load(self, engine: Engine) -> None:
        """Bring an engine's weights into memory, after the least recently used others made room. Raises EngineError.

        One that is larger than the bound on its own is loaded alone.
        """
        if engine in self._recent:
            self._recent.remove(engine)
        others = [other for other in self._recent if other.loaded()]
        while others and (
            len(others) >= self._max_loaded
            or sum(each.memory() for each in (*others, engine)) > self._options.memory_bytes
        ):
            others.pop(0).unload()
        self._recent.append(engine)
        engine.load()

    def loaded(self) -> list[str]:
        """Return the names of the engines whose weights are in memory, the least recently used first."""
        return [engine.name for engine in self._recent if engine.loaded()]

    def unload(self) -> None:
        """Let go of all weights."""
        for engine in self._recent:
            engine.unload()

    def statuses(self) -> list[EngineStatus]:
        """Return what each engine can do, or why it cannot. For a translator the languages of all its pairs."""
        statuses = []
        for kind in KINDS:
            for engine in self._engines(kind, None):
                reason = engine.available()
                languages = {code for pair in engine.pairs() for code in pair} if kind == "mt" else engine.languages()
                statuses.append(
                    EngineStatus(
                        kind=kind,
                        name=engine.name,
                        version=engine.version,
                        available=reason is None,
                        reason=reason or "",
                        languages=sorted(languages),
                    )
                )
        return statuses

    def _engines(self, kind: Kind, device: Device | None, model: str | None = None) -> list[Any]:
        """Return the engines of a kind for a device and recogniser's model (the options' ones if None).

        Preferred first, made only once.
        """
        options = replace(
            self._options, device=device or self._options.device, asr_model=model or self._options.asr_model
        )
        key = (kind, options.device, options.asr_model)
        if key not in self._made:
            engines = [
                self._same_as_before(factory(options), options.asr_model) for factory in self._factories.get(kind, ())
            ]
            self._made[key] = sorted(engines, key=lambda engine: (engine.preference, engine.name))
        return self._made[key]

    def _same_as_before(self, engine: Any, model: str) -> Any:
        """Return the engine of this class that already computes where a new one would, so that weights load once."""
        made = (other for (_, _, its_model), engines in self._made.items() if its_model == model for other in engines)
        same = (other for other in made if type(other) is type(engine) and other.device() == engine.device())
        return next(same, engine)

    @staticmethod
    def _first(kind: Kind, engines: Sequence[E], what: str, avoid: Collection[str]) -> E:
        reasons = []
        for engine in sorted(engines, key=lambda engine: engine.name in avoid):
            reason = engine.available()
            if reason is None:
                return engine
            reasons.append(f"{engine.name}: {reason}")
        raise EngineError(f"no {kind} engine {what}" + (f" ({'; '.join(reasons)})" if reasons else ""))
