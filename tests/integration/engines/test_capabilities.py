"""What a worker says that it can do, from the real engines."""

from pathlib import Path

import pytest

from services.worker.capabilities import describe
from services.worker.engines.apertium import Apertium
from services.worker.engines.bergamot import Bergamot
from services.worker.engines.hibari import Hibari
from services.worker.engines.kokoro import Kokoro
from services.worker.engines.protocols import EngineOptions
from services.worker.engines.registry import Engines
from services.worker.engines.whisper import Whisper
from shared.settings import default_models_dir


def test_the_default_set_serves_its_pairs_by_named_routes() -> None:
    options = EngineOptions(default_models_dir())
    for factory in (Whisper, Kokoro, Apertium):
        if reason := factory(options).available():
            pytest.skip(reason)
    engines = Engines(options, {"asr": [Whisper], "mt": [Bergamot, Apertium], "tts": [Kokoro, Hibari]})
    found = describe(engines, "w1", ["cpu"])
    routes = {(pair.source, pair.target): pair.route for pair in found.pairs}
    assert routes["en", "pt"] == ["bergamot:en-pt"]
    assert routes["en", "es"] == ["bergamot:en-pt", "apertium:pt-es"]
    assert routes["ja", "en"] == ["whisper:ja-en"]
    assert ("en", "ja") not in routes
    assert all(pair.source != pair.target for pair in found.pairs)
    assert engines.loaded() == []


def test_an_engine_that_is_missing_says_what_to_do_and_serves_nothing(tmp_path: Path) -> None:
    engines = Engines(
        EngineOptions(tmp_path),
        {"asr": [Whisper], "mt": [lambda options: Apertium(options, (tmp_path,))], "tts": [Kokoro]},
    )
    found = describe(engines, "w1", ["cpu"])
    assert found.pairs == []
    assert {status.name: status.available for status in found.engines} == {
        "whisper": False,
        "apertium": False,
        "kokoro": False,
    }
    assert all(status.reason for status in found.engines)
