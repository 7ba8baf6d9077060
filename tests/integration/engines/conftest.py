"""The real models of the default set, fetched once into the user's own cache."""

from pathlib import Path

import pytest
from rich.console import Console

from services.worker.engines.protocols import EngineOptions
from services.worker.engines.whisper import Whisper
from services.worker.models.fetch import fetch_models
from shared.settings import Settings


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Where every model of the lock file lies, verified."""
    models_dir = Settings().models_dir
    fetch_models([], models_dir, Console())
    return models_dir


@pytest.fixture(scope="session")
def engine_options(models_dir: Path) -> EngineOptions:
    return EngineOptions(models_dir=models_dir, cpu_threads=2, device="cpu")


@pytest.fixture(scope="session")
def whisper(engine_options: EngineOptions) -> Whisper:
    """One warm recogniser for the session."""
    engine = Whisper(engine_options)
    engine.load()
    return engine
