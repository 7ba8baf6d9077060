"""What this worker can do: its engines, every language pair that they can dub together, its device and its models.

Lives here: finding out, without loading any weights. Does not live here: the answer's schema (`shared.capabilities`).
"""

from dataclasses import dataclass
from pathlib import Path

from services.worker.device import Place
from services.worker.engines.protocols import EngineError
from services.worker.engines.registry import Engines
from services.worker.engines.routes import routes_from, usable_steps
from services.worker.models.resolver import present_models
from shared.capabilities import Capabilities, EngineStatus, LanguagePair
from shared.job.modes import Hardware


@dataclass(frozen=True)
class Inventory:
    """Everything that a worker says of itself; found anew after models were fetched."""

    capabilities: Capabilities
    device: Place = "cpu"
    models: tuple[str, ...] = ()

    @property
    def engines(self) -> list[str]:
        """Every usable engine as `kind:name`."""
        return [f"{status.kind}:{status.name}" for status in self.capabilities.engines if status.available]

    @property
    def hardware(self) -> Hardware:
        """The same, as the effective settings of a job take it into account."""
        return Hardware(self.device == "cuda", frozenset(self.models), frozenset(self.engines))


def take_inventory(engines: Engines, models_dir: Path, device: Place, worker: str, pools: list[str]) -> Inventory:
    """Return what is usable now; takes a moment (imports, many small reads)."""
    return Inventory(describe(engines, worker, pools), device, tuple(present_models(models_dir)))


def describe(engines: Engines, worker: str, pools: list[str]) -> Capabilities:
    """Return the state of every engine and the pairs that can be heard, translated and spoken here."""
    statuses = engines.statuses()
    try:
        recogniser = engines.asr()
    except EngineError:
        recogniser = None
    steps = usable_steps(engines.mt(), recogniser)
    routes = routes_from(steps, recogniser.languages() if recogniser else (), _languages(statuses, "tts"))
    return Capabilities(
        worker=worker,
        pools=pools,
        engines=statuses,
        pairs=[LanguagePair(source=s, target=t, route=route.names()) for (s, t), route in routes.items()],
    )


def _languages(statuses: list[EngineStatus], kind: str) -> set[str]:
    """Return the languages of all usable engines of a kind."""
    return {code for status in statuses if status.kind == kind and status.available for code in status.languages}
