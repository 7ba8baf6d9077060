"""The edges of a spoken take.

Lives here: pure sample maths that every speech engine applies to what it made. Does not live here: fitting a take
into its slot (`services.worker.dubbing`).
"""

import numpy as np

from services.worker.engines.protocols import Samples

SILENCE_DB = -45.0
"""Relative to the take's own peak: below the softest consonants (about -35 dB), above the engines' noise floor."""
KEEP_S = 0.025
"""Kept before the first and after the last loud sample, so that a plosive's onset and a vowel's tail survive."""


def is_speakable(text: str) -> bool:
    """Return whether a text has a letter or digit; engines make odd noises of bare punctuation and emoji."""
    return any(character.isalnum() for character in text)


def trim_silence(samples: Samples, rate: int, *, silence_db: float = SILENCE_DB, keep_s: float = KEEP_S) -> Samples:
    """Return the take without its silent edges: it starts and ends within `keep_s` seconds of its speech.

    `samples` is mono at `rate` Hz. A take without any sound becomes an empty one.
    """
    level = np.abs(samples)
    peak = float(level.max(initial=0.0))
    if peak == 0.0:
        return samples[:0]
    loud = np.flatnonzero(level >= peak * 10 ** (silence_db / 20))
    keep = round(keep_s * rate)
    return samples[max(0, int(loud[0]) - keep) : int(loud[-1]) + 1 + keep]
