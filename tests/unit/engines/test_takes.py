"""A take starts and ends with its speech."""

import numpy as np
import pytest

from services.worker.engines.takes import is_speakable, trim_silence

RATE = 24_000


def tone(seconds: float, level: float = 0.5) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (level * np.cos(2 * np.pi * 220 * time)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


@pytest.mark.parametrize("level", [0.01, 0.5, 1.0])
def test_silent_edges_go_but_for_25_ms_whatever_the_loudness(level):
    take = np.concatenate([silence(0.3), tone(1.0, level), silence(0.8)])

    trimmed = trim_silence(take, RATE)

    assert len(trimmed) == pytest.approx((1.0 + 2 * 0.025) * RATE, abs=3)
    assert abs(trimmed[600]) == pytest.approx(level, rel=0.01)


def test_noise_50_db_below_the_speech_counts_as_silence():
    noise = np.random.default_rng(0).uniform(-1, 1, RATE).astype(np.float32) * 0.5 * 10 ** (-50 / 20)

    assert len(trim_silence(np.concatenate([noise, tone(0.5), noise]), RATE)) == pytest.approx(0.55 * RATE, abs=3)


def test_pauses_within_the_speech_stay():
    take = np.concatenate([tone(0.2), silence(1.0), tone(0.2)])

    assert len(trim_silence(take, RATE)) == len(take)


@pytest.mark.parametrize("take", [silence(1.0), silence(0.0)])
def test_a_take_without_sound_is_empty(take):
    trimmed = trim_silence(take, RATE)

    assert trimmed.size == 0
    assert trimmed.dtype == np.float32


@pytest.mark.parametrize("text", ["a", "Olá!", "7", "सुबह", "…and"])
def test_text_with_a_letter_or_digit_can_be_spoken(text):
    assert is_speakable(text)


@pytest.mark.parametrize("text", ["", "   ", "...", "—", "🙂", "♪ ♪", "¿?"])
def test_bare_signs_cannot_be_spoken(text):
    assert not is_speakable(text)
