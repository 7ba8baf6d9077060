"""Which languages the known workers can dub. Pure.

Lives here: what their capabilities amount to, and the refusal of a pair. Does not live here: asking them (`workers`).
"""

from collections.abc import Iterable
from typing import Any

from services.ingest.fields import AUTO
from shared.capabilities import Capabilities, LanguagePair
from shared.problems import Problem

LISTED_PAIRS = 24
"""More pairs than this make a sentence that nobody reads; the problem's `pairs` member always has all."""


def pairs_of(workers: Iterable[Capabilities]) -> list[LanguagePair]:
    """Return every pair that some worker serves, once, in the order of source and target."""
    found: dict[tuple[str, str], LanguagePair] = {}
    for worker in workers:
        for pair in worker.pairs:
            known = found.get((pair.source, pair.target))
            if known is None or len(pair.route) < len(known.route):
                found[pair.source, pair.target] = pair
    return [found[key] for key in sorted(found)]


def check_pair(pairs: list[LanguagePair], source: str, target: str) -> None:
    """Raise Problem 422 unless `source` (or, for `auto`, any language) can be dubbed into `target`."""
    if any(pair.target == target and source in (AUTO, pair.source) for pair in pairs):
        return
    names = [f"{pair.source} → {pair.target}" for pair in pairs]
    listed = ", ".join(names[:LISTED_PAIRS]) + (" and more" if len(names) > LISTED_PAIRS else "")
    asked = f"into {target}" if source == AUTO else f"from {source} into {target}"
    detail = f"No worker can dub {asked}. Choose one of: {listed}." if names else f"No worker can dub {asked}."
    raise Problem(
        422, "unsupported_pair", detail, pairs=[{"source": pair.source, "target": pair.target} for pair in pairs]
    )


def describe(workers: list[Capabilities]) -> dict[str, Any]:
    """Return the answer of `GET /api/languages`."""
    pairs = pairs_of(workers)
    return {
        "pairs": [pair.model_dump() for pair in pairs],
        "sources": sorted({pair.source for pair in pairs}),
        "targets": sorted({pair.target for pair in pairs}),
        "engines": [
            {"worker": worker.worker, **engine.model_dump()} for worker in workers for engine in worker.engines
        ],
    }
