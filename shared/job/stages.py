"""The stage graph of a dub.

Lives here: which stage needs which. Does not live here: how a stage runs (`services.worker.stages`).
"""

from collections.abc import Mapping

from shared.events.names import Pool, Stage

GRAPH: Mapping[Stage, tuple[Stage, ...]] = {
    "audio": (),
    "transcribe": ("audio",),
    "translate": ("audio", "transcribe"),
    "tts": ("audio", "translate"),
    "mix": ("audio", "tts"),
    "mux": ("transcribe", "translate", "tts", "mix"),
}
"""Stage -> the stages whose outputs it reads, in a topological order."""

POOL: Mapping[Stage, Pool] = {
    "audio": "cpu",
    "transcribe": "cpu",
    "translate": "cpu",
    "tts": "cpu",
    "mix": "cpu",
    "mux": "cpu",
}
"""The pool that serves each stage in the default set, which needs no GPU."""


def ready(done: frozenset[Stage]) -> list[Stage]:
    """Return the stages that are not done and whose needs all are, in graph order."""
    return [stage for stage, needs in GRAPH.items() if stage not in done and done.issuperset(needs)]


def upstream(stage: Stage) -> frozenset[Stage]:
    """Return every stage that this one depends on, directly or not."""
    found: set[Stage] = set()
    for need in GRAPH[stage]:
        found |= {need, *upstream(need)}
    return frozenset(found)
