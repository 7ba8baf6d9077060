"""What the workers say they can do, asked over the bus and remembered.

Lives here: the cache. Does not live here: what follows from it (`languages`).
"""

import asyncio
import time
from collections.abc import Callable

import structlog
from pydantic import ValidationError

from services.ingest.bus import RETRY_AFTER_S, Bus
from shared.capabilities import Capabilities
from shared.eventlog.port import LogUnavailableError
from shared.events.subjects import WORKERS_DESCRIBE
from shared.problems import Problem

FRESH_S = 5.0
RETRY_S = 1.0
"""How soon to ask again when nobody answered."""
FIRST_ANSWER_S = 1.0
MORE_ANSWERS_S = 0.1

log = structlog.get_logger()


class Workers:
    """The known workers. The last answer is kept: a worker that restarts now will serve what it served before."""

    def __init__(self, bus: Bus, clock: Callable[[], float] = time.monotonic) -> None:
        self._bus = bus
        self._clock = clock
        self._known: list[Capabilities] = []
        self._ask_at = float("-inf")
        self._asking = asyncio.Lock()

    async def known(self) -> list[Capabilities]:
        """Return the workers' capabilities, at most 5 s old if they answer. Raises Problem 503 if none ever did."""
        async with self._asking:
            if self._clock() >= self._ask_at:
                self._ask_at = self._clock() + (FRESH_S if await self._ask() else RETRY_S)
        if not self._known:
            detail = "No worker has reported yet, so it is not known what can be dubbed. Start one, or try again soon."
            raise Problem(503, "no_worker", detail, headers={"Retry-After": str(RETRY_AFTER_S)})
        return self._known

    async def _ask(self) -> bool:
        try:
            answers = await self._bus.ask_all(WORKERS_DESCRIBE, FIRST_ANSWER_S, MORE_ANSWERS_S)
        except LogUnavailableError:
            return False
        found: dict[str, Capabilities] = {}
        for answer in answers:
            try:
                capabilities = Capabilities.model_validate_json(answer)
            except ValidationError:
                log.warning("capabilities_undecodable")  # E7: one strange worker blocks nobody
                continue
            found[capabilities.worker] = capabilities
        if found:
            self._known = [found[name] for name in sorted(found)]
        return bool(found)
