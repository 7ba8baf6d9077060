"""Snapping of line starts and ends to the sound.

Lives here: the search for the energy onset and offset beside the times that the recogniser gave (its words are off by
up to a few tenths of a second; a dub should start within 0.1 s). Does not live here: how lines are divided
(`segmentation`), reading of audio files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.manifests import Segment, Word

SAMPLE_RATE = 16_000
FRAME_S = 0.01
WINDOW_S = 0.35
"""How far a start or end may move, in seconds to either side."""
CONTEXT_S = 1.5
"""How much sound on both sides of a line tells its noise floor."""
FLOOR_PERCENTILE = 10.0
PEAK_PERCENTILE = 95.0
MIN_CONTRAST_DB = 15.0
"""Speech that stands out less than this over its surroundings (music, crowd) has no onset that energy can show."""
ABOVE_FLOOR_DB = 9.0
BELOW_PEAK_DB = 35.0
"""Sound counts as speech above both floor + ABOVE_FLOOR_DB and peak - BELOW_PEAK_DB."""
DIGITAL_SILENCE_DB = -90.0
"""Below the last bit of 16-bit audio: an edit, not the room. It says nothing about the noise around speech."""
ROOM_CONTRAST_DB = 25.0
"""What is left without digital silence is the room only if speech stands out of it by so much; else it is speech."""
MIN_SILENCE_FRAMES = 10
"""0.1 s: the closure of a plosive is shorter, a pause between sentences longer."""
MIN_SPEECH_FRAMES = 6
"""0.06 s: clicks are shorter."""
MAX_CREDITED_SILENCE_FRAMES = 50
"""Longer silences do not make an onset more convincing."""
DISTANCE_WEIGHT = 0.5
MIN_SEGMENT_S = 0.1
_SILENCE_DB = -120.0


@dataclass(frozen=True)
class _Edges:
    """Runs of speech around one line: parallel arrays in frames, with the silences before and after each run."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    silence_before: NDArray[np.int64]
    silence_after: NDArray[np.int64]


def refine_onsets(segments: Sequence[Segment], pcm: NDArray[np.float32]) -> list[Segment]:
    """Return the lines with starts and ends moved to the nearest clear energy onset and offset.

    `pcm` is mono float32 at SAMPLE_RATE, shape (samples,), from the start of the source. Lines come in order. A time
    moves by at most WINDOW_S (an end also back to where the next line turns out to begin) and never across a
    neighbour's; a line without clear edges (music, unbroken speech) keeps its times. Words are clipped to their line,
    and the outer words reach its edges. Raises ValueError on other shapes.
    """
    if pcm.ndim != 1:
        raise ValueError("pcm must be mono, shape (samples,)")
    levels = frame_levels(pcm)
    edges = [_edges(levels, segment) for segment in segments]
    starts: list[float] = []
    for segment, edge in zip(segments, edges, strict=True):
        low = starts[-1] + MIN_SEGMENT_S if starts else 0.0
        starts.append(_start(segment, edge, low))
    ends = [
        _end(segment, edge, start, following)
        for segment, edge, start, following in zip(
            segments, edges, starts, [*starts[1:], len(pcm) / SAMPLE_RATE], strict=True
        )
    ]
    return [_moved(segment, start, end) for segment, start, end in zip(segments, starts, ends, strict=True)]


def frame_levels(pcm: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the RMS level of each whole 10 ms frame in dB of full scale, not below -120 dB."""
    size = round(SAMPLE_RATE * FRAME_S)
    whole = pcm[: len(pcm) // size * size].reshape(-1, size)
    power = np.einsum("ij,ij->i", whole, whole).astype(np.float64) / size  # no copy of hours of sound
    levels: NDArray[np.float64] = np.maximum(10.0 * np.log10(np.maximum(power, 1e-30)), _SILENCE_DB)
    return levels


def _frame(seconds: float) -> int:
    return round(seconds / FRAME_S)


def _edges(levels: NDArray[np.float64], segment: Segment) -> _Edges | None:
    """Find the runs of speech in and around a line, or None where speech does not stand out."""
    first = max(_frame(segment.start - CONTEXT_S), 0)
    around = levels[first : _frame(segment.end + CONTEXT_S)]
    within = levels[max(_frame(segment.start), 0) : max(_frame(segment.end), 0)]
    if not within.size:
        return None
    peak = float(np.percentile(within, PEAK_PERCENTILE))
    floor = _floor(around, peak)
    if peak - floor < MIN_CONTRAST_DB:
        return None
    loud = around > max(floor + ABOVE_FLOOR_DB, peak - BELOW_PEAK_DB)
    steps = np.diff(np.concatenate(([0], loud.astype(np.int8), [0])))
    begins, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    long_enough = ends - begins >= MIN_SPEECH_FRAMES  # clicks count as silence
    begins, ends = begins[long_enough], ends[long_enough]
    if not begins.size:
        return None
    return _Edges(
        first=begins + first,
        last=ends + first,
        silence_before=begins - np.concatenate(([0], ends[:-1])),
        silence_after=np.concatenate((begins[1:], [len(around)])) - ends,
    )


def _floor(around: NDArray[np.float64], peak: float) -> float:
    """Return the level of the noise around a line, in dB of full scale."""
    room = around[around > DIGITAL_SILENCE_DB]
    if room.size:
        floor = float(np.percentile(room, FLOOR_PERCENTILE))
        if peak - floor >= ROOM_CONTRAST_DB:
            return floor
    return float(np.percentile(around, FLOOR_PERCENTILE))


def _nearest(
    at_s: float, frames: NDArray[np.int64], silences: NDArray[np.int64], low_s: float, high_s: float
) -> float | None:
    """Choose among edges within [low_s, high_s] the one with most silence beside it and least distance to `at_s`."""
    seconds = frames * FRAME_S
    usable = (silences >= MIN_SILENCE_FRAMES) & (seconds >= low_s) & (seconds <= high_s)
    if not usable.any():
        return None
    silence_s = np.minimum(silences, MAX_CREDITED_SILENCE_FRAMES) * FRAME_S
    score = np.where(usable, silence_s - DISTANCE_WEIGHT * np.abs(seconds - at_s), -np.inf)
    return float(seconds[int(np.argmax(score))])


def _start(segment: Segment, edges: _Edges | None, low_s: float) -> float:
    """Return the refined start; `low_s` keeps it behind the line before."""
    if edges is None:
        return segment.start
    low = max(segment.start - WINDOW_S, low_s)
    high = min(segment.start + WINDOW_S, segment.end - MIN_SEGMENT_S)
    found = _nearest(segment.start, edges.first, edges.silence_before, low, high)
    return segment.start if found is None else found


def _end(segment: Segment, edges: _Edges | None, start_s: float, high_s: float) -> float:
    """Return the refined end; `high_s` is where the next line starts or the sound ends."""
    if edges is not None:
        low = max(segment.end - WINDOW_S, start_s + MIN_SEGMENT_S)
        high = min(segment.end + WINDOW_S, high_s)
        found = _nearest(segment.end, edges.last, edges.silence_after, low, high)
        if found is not None:
            return found
    return min(segment.end, high_s) if high_s > start_s else segment.end


def _moved(segment: Segment, start: float, end: float) -> Segment:
    """Return the line with new times, its words clipped to them."""
    words = [_clipped(word, start, end) for word in segment.words]
    if words:
        words[0] = words[0].model_copy(update={"start": start})
        words[-1] = words[-1].model_copy(update={"end": end})
    return segment.model_copy(update={"start": start, "end": end, "words": words})


def _clipped(word: Word, start: float, end: float) -> Word:
    return word.model_copy(update={"start": min(max(word.start, start), end), "end": min(max(word.end, start), end)})
