"""What a worker can do, as it tells over the bus when asked.

Lives here: the answer's schema. Does not live here: finding out (`services.worker.capabilities`).
"""

from pydantic import BaseModel, ConfigDict


class EngineStatus(BaseModel):
    """One engine; `reason` says what is missing and what to do, empty when it is usable."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: str
    name: str
    version: str
    available: bool
    reason: str = ""
    languages: list[str] = []


class LanguagePair(BaseModel):
    """A pair that can be dubbed, with the route of engines that serves its translation."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    source: str
    target: str
    route: list[str]


class Capabilities(BaseModel):
    """Everything that one worker can serve. Languages are BCP 47 primary subtags."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    worker: str
    pools: list[str]
    engines: list[EngineStatus]
    pairs: list[LanguagePair]
