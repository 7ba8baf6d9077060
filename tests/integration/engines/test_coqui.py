"""The Coqui engine through the real coqui-tts, on a tiny VITS with random weights: noise, but every step of the way.

Runs where the optional environment is (requirements-coqui.lock); elsewhere only the tests without the library do.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from services.worker.engines import packages
from services.worker.engines.coqui import LANGUAGES_VARIABLE, MODEL_VARIABLE, Coqui
from services.worker.engines.protocols import EngineError, EngineOptions

SAMPLE_RATE = 16_000

needs_coqui = pytest.mark.skipif(
    not packages.version("coqui-tts"),
    reason="coqui-tts is not installed: make an environment from requirements-coqui.lock (8 GB) to run this test",
)
third_party_warnings = pytest.mark.filterwarnings("ignore")  # not ours to fix, and not in the default set


def build_model(directory: Path) -> None:
    """Write config.json and model.pth of a VITS so small that it is built and loaded in a second."""
    import torch
    from TTS.config.shared_configs import BaseAudioConfig
    from TTS.tts.configs.shared_configs import CharactersConfig
    from TTS.tts.configs.vits_config import VitsArgs, VitsConfig
    from TTS.tts.models.vits import Vits

    arguments = VitsArgs(
        hidden_channels=16,
        hidden_channels_ffn_text_encoder=16,
        num_layers_text_encoder=1,
        num_layers_flow=1,
        num_layers_posterior_encoder=1,
        upsample_initial_channel_decoder=32,
        init_discriminator=False,
    )
    characters = CharactersConfig(
        characters_class="TTS.tts.models.vits.VitsCharacters",
        pad="_",
        blank=" ",
        characters="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
        punctuations="!?.,' ",
    )
    config = VitsConfig(
        model_args=arguments,
        audio=BaseAudioConfig(sample_rate=SAMPLE_RATE),
        characters=characters,
        use_phonemes=False,
        text_cleaner="basic_cleaners",
    )
    torch.manual_seed(0)
    model = Vits.init_from_config(config)
    directory.mkdir()
    config.save_json(str(directory / "config.json"))
    torch.save({"model": model.state_dict()}, directory / "model.pth")


def configured(directory: Path, languages: str = "en,pt") -> Coqui:
    environment = {MODEL_VARIABLE: str(directory), LANGUAGES_VARIABLE: languages}
    return Coqui(EngineOptions(models_dir=directory, device="cpu"), environment)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("coqui") / "tiny"
    build_model(directory)
    return directory


@needs_coqui
@third_party_warnings
def test_a_local_model_speaks_through_the_real_library(model: Path) -> None:
    engine = configured(model)
    assert engine.available() is None
    assert engine.languages() == {"en", "pt"}
    assert not engine.loaded()
    samples, rate = engine.synthesize("Hello there, this is a test.", "en", engine.default_voice("en"), 1.0)
    assert engine.loaded()
    assert rate == SAMPLE_RATE
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert samples.size > rate // 10
    assert 0 < np.abs(samples).max() <= 1
    engine.unload()
    assert not engine.loaded()


@needs_coqui
@third_party_warnings
def test_the_digest_is_that_of_the_files_and_changes_with_them(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in model.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    assert configured(other).digest() == configured(model).digest()
    with (other / "model.pth").open("ab") as weights:
        weights.write(b"x")
    assert configured(other).digest() != configured(model).digest()


@needs_coqui
@third_party_warnings
def test_weights_that_are_none_are_an_error_that_names_the_directory(model: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((model / "config.json").read_bytes())
    (tmp_path / "model.pth").write_bytes(b"not weights")
    with pytest.raises(EngineError, match="cannot be loaded"):
        configured(tmp_path).load()


@needs_coqui
def test_each_missing_piece_is_named(tmp_path: Path) -> None:
    unset = Coqui(EngineOptions(models_dir=tmp_path), {})
    assert f"set {MODEL_VARIABLE}" in (unset.available() or "")
    assert "no config.json" in (configured(tmp_path).available() or "")
    (tmp_path / "config.json").write_text(json.dumps({"model": "vits"}))
    assert "no model.pth" in (configured(tmp_path).available() or "")
    (tmp_path / "model.pth").touch()
    assert f"set {LANGUAGES_VARIABLE}" in (configured(tmp_path, "").available() or "")
    (tmp_path / "config.json").write_text(json.dumps({"model": "bark"}))
    assert "can run code" in (configured(tmp_path).available() or "")


@pytest.mark.skipif(bool(packages.version("coqui-tts")), reason="coqui-tts is installed here")
def test_without_the_library_it_says_what_to_install(tmp_path: Path) -> None:
    engine = configured(tmp_path)
    assert "requirements-coqui.lock" in (engine.available() or "")
    with pytest.raises(EngineError, match=r"requirements-coqui\.lock"):
        engine.load()


def test_a_voice_or_language_that_is_not_configured_is_refused(tmp_path: Path) -> None:
    engine = configured(tmp_path)
    assert engine.voices("ja") == []
    with pytest.raises(EngineError, match="not configured for 'ja'"):
        engine.default_voice("ja")
    with pytest.raises(EngineError, match="no voice 'nobody'"):
        engine.synthesize("Hello.", "en", "nobody", 1.0)


def test_without_torch_it_would_compute_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert Coqui(EngineOptions(Path("models")), {}).device() == "cpu"
