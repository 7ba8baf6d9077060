"""The loading path of Whisper on every device that is here, on a tiny random model made by the test."""

import json
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
from ctranslate2.specs.whisper_spec import WhisperSpec

from services.worker.engines.whisper import build_model, compute_choices, first_working
from shared.events.names import Device

WIDTH = 64
MELS = 80
HEADS = 2
AUDIO_POSITIONS, TEXT_POSITIONS = 1500, 448


def tiny_whisper(real: Path, directory: Path) -> Path:
    """Write a one-layer Whisper with random weights and the real vocabulary."""
    tokens = (real / "vocabulary.txt").read_text().splitlines()
    random = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return random.normal(0, 0.05, shape).astype(np.float32)

    spec = WhisperSpec(1, HEADS, 1, HEADS)
    shapes = {
        "conv1/weight": (WIDTH, MELS, 3),
        "conv2/weight": (WIDTH, WIDTH, 3),
        "gamma": (WIDTH,),
        "beta": (WIDTH,),
        "self_attention/linear_0/weight": (3 * WIDTH, WIDTH),
        "attention/linear_1/weight": (2 * WIDTH, WIDTH),
        "self_attention/linear_1/weight": (WIDTH, WIDTH),
        "attention/linear_0/weight": (WIDTH, WIDTH),
        "attention/linear_2/weight": (WIDTH, WIDTH),
        "ffn/linear_0/weight": (4 * WIDTH, WIDTH),
        "ffn/linear_1/weight": (WIDTH, 4 * WIDTH),
        "embeddings/weight": (len(tokens), WIDTH),
        "projection/weight": (len(tokens), WIDTH),
    }

    def fill(layer: object, name: str, value: object) -> None:
        if value is None:
            scope = next(key for key in sorted(shapes, key=len, reverse=True) if full[id(layer), name].endswith(key))
            setattr(layer, name, weights(*shapes[scope]))

    full = {}

    def remember(layer: object, path: str) -> None:
        for name, value in list(vars(layer).items()):
            inner = f"{path}/{name}"
            if isinstance(value, list):
                for index, each in enumerate(value):
                    remember(each, f"{inner}_{index}")
            elif hasattr(value, "__dict__") and not isinstance(value, np.ndarray):
                remember(value, inner)
            else:
                full[id(layer), name] = inner
                fill(layer, name, value)

    remember(spec.encoder, "encoder")
    remember(spec.decoder, "decoder")
    for convolution in (spec.encoder.conv1, spec.encoder.conv2):
        convolution.bias = weights(WIDTH)
    spec.encoder.position_encodings.encodings = weights(AUDIO_POSITIONS, WIDTH)
    spec.decoder.position_encodings.encodings = weights(TEXT_POSITIONS, WIDTH)
    config = json.loads((real / "config.json").read_text())
    spec.config.suppress_ids = config["suppress_ids"]
    spec.config.suppress_ids_begin = config["suppress_ids_begin"]
    spec.config.lang_ids = config["lang_ids"]
    spec.config.alignment_heads = [[0, 0], [0, 1]]
    spec.register_vocabulary(tokens)
    spec.validate()
    directory.mkdir()
    spec.save(str(directory))
    (directory / "tokenizer.json").symlink_to(real / "tokenizer.json")
    return directory


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_model_loads_and_transcribes_on_this_device(models_dir: Path, tmp_path: Path, device: Device):
    if device == "cuda" and ctranslate2.get_cuda_device_count() == 0:
        pytest.skip("no CUDA device can be seen on this machine")
    directory = tiny_whisper(models_dir / "whisper-base", tmp_path / "tiny")
    choices = compute_choices(device, ctranslate2.get_supported_compute_types("cuda") if device == "cuda" else set())

    model, used = first_working(choices, lambda where, kind: build_model(directory, where, kind, 1))
    noise = np.random.default_rng(1).normal(0, 0.1, 32_000).astype(np.float32)
    segments, info = model.transcribe(noise, language="en", beam_size=1, temperature=0.0, word_timestamps=True)

    assert used == device
    assert info.duration == 2.0
    assert all(0 <= segment.start <= segment.end <= 30 for segment in segments)
