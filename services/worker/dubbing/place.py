"""Sample arithmetic of putting takes on a track.

Lives here: edge fades and mixing into an array. Does not live here: where takes go (`fit`), files and resampling.
"""

import numpy as np
from numpy.typing import NDArray

EDGE_FADE_S = 0.008
"""Fade at both ends of a take, against clicks; 5 to 10 ms is inaudible as a fade (levels reference)."""


def with_edge_fades(take: NDArray[np.float32], *, sample_rate: int, fade_s: float = EDGE_FADE_S) -> NDArray[np.float32]:
    """Return a copy of a take, shape (samples,) or (samples, channels), faded in and out by half a cosine.

    On takes shorter than two fades the fades shrink to half the take each.
    """
    faded = take.astype(np.float32, copy=True)
    length = min(round(fade_s * sample_rate), len(take) // 2)
    if length:
        ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / length)).astype(np.float32)
        ramp = ramp.reshape((length,) + (1,) * (take.ndim - 1))
        faded[:length] *= ramp
        faded[-length:] *= ramp[::-1]
    return faded


def mix_into(track: NDArray[np.float32], take: NDArray[np.float32], offset: int) -> int:
    """Add a take to the track in place, its first sample at index `offset`; both have the same number of channels.

    Returns how many samples of the take lay outside of the track and were left out, so that no caller loses speech
    without knowing. Nothing is clipped: the track may exceed full scale.
    """
    first, last = max(offset, 0), min(offset + len(take), len(track))
    if last <= first:
        return len(take)
    track[first:last] += take[first - offset : last - offset]
    return len(take) - (last - first)
