"""Loading engines before the first job needs them; in the child, where they stay.

Lives here: which engines a job with given settings would most likely use. Does not live here: the request (`prewarm`).
"""

from collections import Counter
from collections.abc import Callable, Mapping

from services.worker.engines.protocols import Engine, EngineError
from services.worker.engines.registry import Engines
from services.worker.messages import Warmed
from shared.events.envelope import Value
from shared.events.names import Device


def load_engines(engines: Engines, settings: Mapping[str, Value]) -> Warmed:
    """Load the recogniser, the translator and the voice of these settings; what cannot be loaded is told."""
    wanted = settings.get("device")
    device: Device = "cuda" if wanted == "cuda" else "cpu" if wanted == "cpu" else "auto"
    model = str(settings["asr_model"]) if "asr_model" in settings else None
    fast = settings.get("fast_voice") is True
    choices: dict[str, Callable[[], Engine]] = {
        "mt": lambda: _translator(engines, device),
        "tts": lambda: _voice(engines, device, fast=fast),
        "asr": lambda: engines.asr(device, model=model),
    }
    failures: dict[str, str] = {}
    for kind, choose in choices.items():
        try:
            engines.load(choose())
        except EngineError as error:
            failures[kind] = str(error)
        except Exception as error:  # noqa: BLE001 -- a library's own error: the others are still to be loaded
            failures[kind] = type(error).__name__
    return Warmed(loaded_engines=engines.loaded(), failures=failures)


def _translator(engines: Engines, device: Device) -> Engine:
    usable = engines.mt(device)
    if not usable:
        raise EngineError("no translator is usable")
    return usable[0]


def _voice(engines: Engines, device: Device, *, fast: bool) -> Engine:
    """Return the voice that would be chosen for most languages."""
    spoken = [s for s in engines.statuses() if s.kind == "tts" and s.available]
    chosen = [engines.tts(code, fast=fast, device=device) for code in {c for s in spoken for c in s.languages}]
    if not chosen:
        raise EngineError("no voice is usable")
    by_name = {engine.name: engine for engine in chosen}
    name, _ = Counter(engine.name for engine in chosen).most_common(1)[0]
    return by_name[name]
