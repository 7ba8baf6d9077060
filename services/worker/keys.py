"""The key of a stage: a hash of everything that decides its result.

Lives here: the hash. A finished stage with the same key is not run again: resume after a crash, incremental
re-dubs and re-use between jobs of one owner all follow from this one rule.
"""

import hashlib
import json
from collections.abc import Mapping

from shared.artifacts import Artifact
from shared.events.names import Stage
from shared.events.types import EngineUsed

REVISION: Mapping[Stage, int] = {"audio": 1, "transcribe": 1, "translate": 1, "tts": 1, "mix": 1, "mux": 1}
"""Raised when a stage's own code changes what it makes of the same inputs."""


def stage_key(
    stage: Stage,
    source_sha256: str,
    inputs: Mapping[str, Artifact],
    params: Mapping[str, str | int | float | bool],
    engine: EngineUsed,
) -> str:
    """Return the hex SHA-256 over the stage, its revision, the source, inputs, parameters and engine digests.

    The paths of inputs are not part of it: where a file lies does not change what is made of it.
    """
    material = {
        "stage": stage,
        "revision": REVISION[stage],
        "source": source_sha256,
        "inputs": {name: artifact.sha256 for name, artifact in inputs.items()},
        "params": dict(params),
        "engine": [engine.name, engine.version, engine.device, engine.digest],
    }
    return hashlib.sha256(json.dumps(material, sort_keys=True).encode()).hexdigest()
