"""Playing a take faster or slower at the same pitch, at the dialogue track's rate.

Lives here: one ffmpeg call. Does not live here: how much (`services.worker.dubbing.fit`).
"""

from pathlib import Path

import ffmpeg as graph
import numpy as np
from numpy.typing import NDArray

from shared.ffmpeg import Ffmpeg
from shared.media_inputs import FILE

INAUDIBLE = 0.005
"""A tempo change below half a percent is not worth the artefacts of overlap-add."""


def stretched(ffmpeg: Ffmpeg, take: Path, tempo: float, sample_rate: int) -> NDArray[np.float32]:
    """Return the take as mono float32 at `sample_rate`, `tempo` times as fast (WSOLA, ffmpeg's atempo).

    Raises FfmpegError, OSError.
    """
    stream = graph.input(f"{FILE}{take}").audio
    if abs(tempo - 1.0) > INAUDIBLE:
        stream = stream.filter("atempo", f"{tempo:.5f}")
    stream = stream.filter("aresample", sample_rate)
    args = stream.output("pipe:1", format="f32le", ac=1, acodec="pcm_f32le").get_args()
    return np.frombuffer(ffmpeg.run(args).stdout, dtype="<f4").astype(np.float32)
