"""Channel layouts of the dub: what the source has, and where a voice belongs in it.

Lives here: the mapping. Does not live here: mixing (`mix`) and encoding (`mux`). Names are ffmpeg's.
"""

import math
from dataclasses import dataclass

from shared.media_probe import DEFAULT_LAYOUTS

SIDE_TO_BACK = {"5.0(side)": "5.0", "5.1(side)": "5.1"}
"""AAC, and so every browser, has one surround pair: side and back speakers are the same pair under two names."""
CHANNELS = {
    "mono": 1, "stereo": 2, "2.1": 3, "3.0": 3, "3.1": 4, "4.0": 4, "quad": 4, "4.1": 5, "5.0": 5, "5.1": 6, "6.0": 6,
    "6.1": 7, "7.0": 7, "7.1": 8,
}  # fmt: skip
"""Layouts that are kept as they are, with their number of channels."""
CENTRE = frozenset({"3.0", "3.1", "4.0", "4.1", "5.0", "5.1", "6.0", "6.1", "7.0", "7.1"})
"""Those of them with a centre speaker, always the third channel (WAVE order: FL FR FC ...)."""
CENTRE_CHANNEL = 2


@dataclass(frozen=True)
class ChannelPlan:
    """The layout of the dub and the gain of the (mono) voice in each channel, of which the power is 1 in total."""

    layout: str
    voice: tuple[float, ...]
    kept: bool

    @property
    def channels(self) -> int:
        return len(self.voice)


def plan_channels(layout: str, channels: int) -> ChannelPlan:
    """Return the plan for a source: its own layout, or stereo (`kept` False) for one that has no usual name.

    The voice goes to the centre speaker if there is one, else to both front speakers 3 dB down: equal power, so its
    loudness (BS.1770 sums the channels' power) is that of the mono voice in every layout.
    """
    name = SIDE_TO_BACK.get(layout, layout)
    if CHANNELS.get(name) != channels:
        name = DEFAULT_LAYOUTS.get(channels, "")
    kept = name in CHANNELS
    if not kept:
        name = "stereo"
    gains = [0.0] * CHANNELS[name]
    if name == "mono":
        gains[0] = 1.0
    elif name in CENTRE:
        gains[CENTRE_CHANNEL] = 1.0
    else:
        gains[:2] = [math.sqrt(0.5)] * 2
    return ChannelPlan(name, tuple(gains), kept)
