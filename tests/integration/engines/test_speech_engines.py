"""What the voices say, the recogniser understands: the real default set, there and back."""

import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import espeakng_loader
import jiwer
import numpy as np
import pytest

from services.worker.engines import kokoro as kokoro_module
from services.worker.engines.hibari import Hibari
from services.worker.engines.kokoro import Kokoro
from services.worker.engines.protocols import ASR_SAMPLE_RATE, EngineError, EngineOptions, Samples, TtsEngine
from services.worker.engines.takes import KEEP_S
from services.worker.engines.whisper import Whisper

LINES = {
    "en": "The morning train left the station, and nobody noticed the small dog on the last seat. It slept for hours.",
    "es": "El tren de la mañana salió de la estación, y nadie vio al perro pequeño en el último asiento.",
    "pt": "O trem da manhã saiu da estação, e ninguém percebeu o cachorro pequeno no último banco.",
}
WER_MAX = 0.10


@pytest.fixture(scope="module")
def kokoro(engine_options: EngineOptions) -> Iterator[Kokoro]:
    engine = Kokoro(engine_options)
    engine.load()
    yield engine
    engine.unload()


@pytest.fixture(scope="module")
def hibari(engine_options: EngineOptions) -> Hibari:
    return Hibari(engine_options)


def to_asr_rate(samples: Samples, rate: int) -> Samples:
    """Linear interpolation is good enough for speech at 24 kHz going down to 16 kHz."""
    count = int(len(samples) * ASR_SAMPLE_RATE / rate)
    at = np.arange(count) * rate / ASR_SAMPLE_RATE
    return np.interp(at, np.arange(len(samples)), samples).astype(np.float32)


def spoken(engine: TtsEngine, language: str, rate: float = 1.0) -> Samples:
    samples, sample_rate = engine.synthesize(LINES[language], language, engine.default_voice(language), rate)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    return to_asr_rate(samples, sample_rate)


def words(text: str) -> str:
    return re.sub(r"[^\w\s]", "", text.lower())


def nothing(_fraction: float) -> None:
    """Nobody watches the progress."""


@pytest.mark.parametrize(("name", "language"), [("hibari", "en"), ("kokoro", "en"), ("kokoro", "es"), ("kokoro", "pt")])
def test_what_is_spoken_is_understood(request, whisper: Whisper, name: str, language: str):
    pcm = spoken(request.getfixturevalue(name), language)
    told: list[float] = []

    found = whisper.transcribe(pcm, None, told.append)

    assert found.language == language
    assert found.language_probability > 0.9
    text = "".join(segment.text for segment in found.segments)
    assert jiwer.wer(words(LINES[language]), words(text)) <= WER_MAX
    assert told == sorted(told)
    assert told[-1] == 1.0
    said = [word for segment in found.segments for word in segment.words]
    assert "".join(word.text for word in said).strip() == text.strip()
    assert all(word.text.startswith(" ") for word in said)
    assert all(0 <= word.start <= word.end <= found.duration_s + 0.1 for word in said)
    assert [word.start for word in said] == sorted(word.start for word in said)


def test_lines_start_and_stop_where_they_are_spoken(whisper: Whisper, hibari: Hibari):
    lines = {"The train left the station.": 3.0, "Nobody noticed the small dog.": 0.7, "It slept for hours.": 1.5}
    parts, edges, at = [], [], 0.0
    for line, pause in lines.items():
        take = to_asr_rate(*hibari.synthesize(line, "en", "heart", 1.0))
        parts += [np.zeros(round(pause * ASR_SAMPLE_RATE), np.float32), take]
        at += pause + len(take) / ASR_SAMPLE_RATE
        edges.append((at - len(take) / ASR_SAMPLE_RATE + KEEP_S, at - KEEP_S))

    found = whisper.transcribe(np.concatenate([*parts, np.zeros(ASR_SAMPLE_RATE, np.float32)]), "en", nothing)

    said = [word for segment in found.segments for word in segment.words]
    first = {line.split()[0]: start for line, (start, _) in zip(lines, edges, strict=True)}
    last = {line.split()[-1]: end for line, (_, end) in zip(lines, edges, strict=True)}
    starts = {word.text.strip(): word.start for word in said if word.text.strip() in first}
    ends = {word.text.strip(): word.end for word in said if word.text.strip() in last}
    assert starts == pytest.approx(first, abs=0.1)
    assert ends == pytest.approx(last, abs=0.1)
    assert found.duration_s == pytest.approx(at + 1.0, abs=0.01)
    assert found.speech_s < found.duration_s - 1.0


def test_spanish_is_translated_to_english(whisper: Whisper, kokoro: Kokoro):
    found = whisper.translate_to_english(spoken(kokoro, "es"), "es", nothing)

    text = words("".join(segment.text for segment in found.segments))
    assert {"train", "dog"} <= set(text.split())
    assert all(segment.words == () for segment in found.segments)


@pytest.mark.parametrize("seconds", [0.0, 4.0])
@pytest.mark.parametrize("language", [None, "pt"])
def test_silence_gives_no_words_and_no_made_up_language(whisper: Whisper, seconds: float, language: str | None):
    noise = np.random.default_rng(0).normal(0, 0.003, round(seconds * ASR_SAMPLE_RATE)).astype(np.float32)

    found = whisper.transcribe(noise, language, nothing)

    assert found.segments == ()
    assert found.speech_s == 0.0
    assert found.language == (language or "und")


def test_the_beam_is_the_one_that_the_call_asks_for(whisper: Whisper, hibari: Hibari):
    pcm = to_asr_rate(*hibari.synthesize("A short line.", "en", hibari.default_voice("en"), 1.0))

    assert "short line" in words(" ".join(s.text for s in whisper.transcribe(pcm, "en", nothing, beam=1).segments))
    with pytest.raises((RuntimeError, ValueError), match="beam"):
        whisper.transcribe(pcm, "en", nothing, beam=0)


def test_an_unknown_language_is_refused(whisper: Whisper):
    with pytest.raises(EngineError, match="xx"):
        whisper.transcribe(np.zeros(0, np.float32), "xx", nothing)


@pytest.mark.parametrize("name", ["hibari", "kokoro"])
def test_a_take_starts_at_once_and_obeys_the_rate(request, name: str):
    engine = request.getfixturevalue(name)

    natural, faster = spoken(engine, "en"), spoken(engine, "en", rate=1.25)

    assert len(natural) / len(faster) == pytest.approx(1.25, rel=0.12)
    loud = np.flatnonzero(np.abs(natural) > 0.01 * np.abs(natural).max())
    assert loud[0] < 0.05 * ASR_SAMPLE_RATE


def test_hibari_says_the_same_text_in_the_same_samples(hibari: Hibari):
    np.testing.assert_array_equal(spoken(hibari, "en"), spoken(hibari, "en"))


def test_foreign_words_are_spoken_without_the_marks_of_a_language_switch(kokoro: Kokoro):
    samples, rate = kokoro.synthesize("Un software nuevo de Microsoft.", "es", "ef_dora", 1.0)

    assert len(samples) / rate < 4.0
    assert "(" not in kokoro._phonemes("Un software nuevo de Microsoft.", "es", "ef_dora")


def test_nothing_of_the_text_is_logged_even_at_debug_level(kokoro: Kokoro, caplog, capfd):
    with caplog.at_level(logging.DEBUG):
        kokoro.synthesize("Secreto importante.", "es", "ef_dora", 1.0)
    console = capfd.readouterr()

    logged = caplog.text + console.out + console.err
    assert "ecreto" not in logged
    assert kokoro._phonemes("secreto", "es", "ef_dora") not in logged


def test_an_installation_under_a_very_long_path_still_speaks(tmp_path: Path, engine_options, monkeypatch):
    deep = tmp_path / ("d" * 100) / ("e" * 100) / "espeak-ng-data"
    shutil.copytree(espeakng_loader.get_data_path(), deep)
    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(deep))
    assert len(str(deep)) > kokoro_module.ESPEAK_PATH_MAX
    engine = Kokoro(engine_options)

    samples, rate = engine.synthesize("Bonjour à tous.", "fr", "ff_siwis", 1.0)
    engine.unload()

    assert 0.4 < len(samples) / rate < 3.0
