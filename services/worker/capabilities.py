"""What this worker can do: its engines, and every language pair that they can dub together.

Lives here: finding out, without loading any weights. Does not live here: the answer's schema (`shared.capabilities`).
"""

from services.worker.engines.protocols import EngineError
from services.worker.engines.registry import Engines
from services.worker.engines.routes import routes_from, usable_steps
from shared.capabilities import Capabilities, EngineStatus, LanguagePair


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
