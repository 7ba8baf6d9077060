"""Where Whisper computes, and which languages it claims."""

import pytest

from services.worker.engines.protocols import EngineError, EngineOptions
from services.worker.engines.whisper import BCP47_TO_WHISPER, LANGUAGES, Whisper, compute_choices, first_working

MODERN_CARD = {"float32", "float16", "bfloat16", "int8", "int8_float16", "int8_float32"}
OLD_CARD = {"float32", "int8", "int8_float32"}


@pytest.mark.parametrize(
    ("wanted", "cuda_types", "choices"),
    [
        ("auto", set(), [("cpu", "int8")]),
        ("auto", MODERN_CARD, [("cuda", "float16"), ("cpu", "int8")]),
        ("auto", OLD_CARD, [("cuda", "float32"), ("cpu", "int8")]),
        ("cuda", MODERN_CARD, [("cuda", "float16")]),
        ("cuda", set(), []),
        ("cpu", MODERN_CARD, [("cpu", "int8")]),
    ],
)
def test_the_best_device_that_was_asked_for_comes_first(wanted, cuda_types, choices):
    assert compute_choices(wanted, cuda_types) == choices


def test_a_card_without_its_libraries_falls_back_to_the_cpu():
    def build(device: str, compute_type: str) -> str:
        if device == "cuda":
            raise RuntimeError("Library libcublas.so.12 is not found or cannot be loaded")
        return f"model in {compute_type}"

    assert first_working([("cuda", "float16"), ("cpu", "int8")], build) == ("model in int8", "cpu")


def test_when_nothing_works_the_reason_is_told():
    def build(_device: str, _compute_type: str) -> str:
        raise RuntimeError("CUDA failed with error out of memory")

    with pytest.raises(EngineError, match="cuda float16: CUDA failed with error out of memory"):
        first_working([("cuda", "float16")], build)


def test_every_language_of_the_base_model_is_claimed_under_its_bcp_47_code():
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    only_in_large_v3 = {"yue"}

    assert {BCP47_TO_WHISPER.get(code, code) for code in LANGUAGES} == set(_LANGUAGE_CODES) - only_in_large_v3


def test_without_its_model_it_says_what_to_do_and_refuses_to_load(tmp_path):
    engine = Whisper(EngineOptions(models_dir=tmp_path, device="cpu"))

    assert "services.worker.models.fetch whisper-base" in (engine.available() or "")
    with pytest.raises(EngineError, match="whisper-base"):
        engine.load()
    assert not engine.loaded()


def test_a_size_that_the_lock_file_does_not_know_is_never_loaded(tmp_path):
    engine = Whisper(EngineOptions(models_dir=tmp_path, device="cpu", asr_model="whisper-small"))
    (tmp_path / "whisper-small").mkdir()

    assert engine.available() == "model whisper-small is not in the lock file: choose whisper-base"
    with pytest.raises(EngineError, match="not in the lock file"):
        engine.load()
