"""The graph of language pairs, and the cheapest way through it.

Lives here: what a translation step costs in quality, and which chain of steps serves a pair. Pure. Does not live
here: which engines are usable (`registry`) and running a route (`services.worker.stages.translate`).

Costs are ranks, not measurements: a neural step beats Whisper's own translation (base size: 2 of 6 Japanese
sentences right), which beats rules between unrelated languages. Rules between close relatives are as good as a
neural step: that is what shallow transfer was made for, and en->pt->es (neural, then rules) was measured clearly
better than rules from English to Spanish directly.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from services.worker.engines.protocols import AsrEngine, MtEngine

NEURAL_COST = 1.0
SPEECH_COST = 2.0
RULES_COST = 2.5
RULES_RELATED_COST = 1.0
PIVOT_COST = 0.25
"""Each change of engine or language in between loses a little: context, register, and words nobody knows."""

MAX_STEPS = 3
ENGLISH = "en"
"""The only target of a recogniser's own translation."""


@dataclass(frozen=True, order=True)
class Step:
    """One engine taking one language to another. `hears` is True if it needs the audio and not the text."""

    engine: str
    source: str
    target: str
    cost: float
    hears: bool = False

    def __str__(self) -> str:
        return f"{self.engine}:{self.source}-{self.target}"


@dataclass(frozen=True)
class Route:
    """A chain of one to `MAX_STEPS` steps; only the first may hear."""

    steps: tuple[Step, ...]

    @property
    def source(self) -> str:
        return self.steps[0].source

    @property
    def target(self) -> str:
        return self.steps[-1].target

    @property
    def cost(self) -> float:
        """The sum of the steps' costs and `PIVOT_COST` for each language in between."""
        return sum(step.cost for step in self.steps) + PIVOT_COST * (len(self.steps) - 1)

    def names(self) -> list[str]:
        """Return the steps as `engine:source-target`."""
        return [str(step) for step in self.steps]


def text_steps(engine: MtEngine) -> list[Step]:
    """Return the steps of a translator: the pairs that it serves now."""
    return [Step(engine.name, source, target, engine.cost(source, target)) for source, target in engine.pairs()]


def speech_steps(engine: str, asr_languages: Iterable[str]) -> list[Step]:
    """Return the steps of a recogniser that translates whatever it hears to English."""
    return [Step(engine, lang, ENGLISH, SPEECH_COST, hears=True) for lang in asr_languages if lang != ENGLISH]


def usable_steps(translators: Iterable[MtEngine], recogniser: AsrEngine | None) -> list[Step]:
    """Return every step that these engines offer."""
    steps = [step for engine in translators for step in text_steps(engine)]
    return steps + (speech_steps(recogniser.name, recogniser.languages()) if recogniser else [])


def cheapest(steps: Iterable[Step], source: str) -> dict[str, Route]:
    """Return the best route from `source` to every language that can be reached in `MAX_STEPS`, `source` excluded.

    Lower cost wins, then fewer steps, then the alphabet, so that the same engines always give the same route.
    """
    by_source: dict[str, list[Step]] = {}
    for step in steps:
        by_source.setdefault(step.source, []).append(step)
    best: dict[str, Route] = {}
    frontier = {source: Route(())}
    for _ in range(MAX_STEPS):
        reached: dict[str, Route] = {}
        for language, route in frontier.items():
            for step in by_source.get(language, ()):
                if step.target == source or (step.hears and route.steps):
                    continue
                _keep_better(reached, Route((*route.steps, step)))
        for route in reached.values():
            _keep_better(best, route)
        frontier = reached
    return dict(sorted(best.items()))


def routes_from(
    steps: Iterable[Step], asr_languages: Iterable[str], tts_languages: Iterable[str]
) -> dict[tuple[str, str], Route]:
    """Return every (source, target) that can be heard, translated and spoken, with its best route, in order."""
    steps = list(steps)
    spoken = frozenset(tts_languages)
    return {
        (source, target): route
        for source in sorted(set(asr_languages))
        for target, route in cheapest(steps, source).items()
        if target in spoken
    }


def _keep_better(routes: dict[str, Route], route: Route) -> None:
    known = routes.get(route.target)
    if known is None or _rank(route) < _rank(known):
        routes[route.target] = route


def _rank(route: Route) -> tuple[float, int, tuple[Step, ...]]:
    return route.cost, len(route.steps), route.steps
