"""The limits on an untrusted video, each at its edge."""

from dataclasses import replace
from typing import Any

import pytest

from shared.media_policy import MediaLimits, MediaRefused, refuse_declared_excess, refuse_excess, tracks_of
from shared.media_probe import Demuxed, MediaInfo, Span, StreamInfo

VIDEO = StreamInfo(0, "video", "h264", 0, 6, None, True, False, 640, 360, "yuv420p", "25/1", "25/1")  # noqa: FBT003 -- a field of the probe
AUDIO = StreamInfo(1, "audio", "aac", 0, 6, None, True, False, channels=2, layout="stereo", sample_rate=48000)  # noqa: FBT003 -- a field of the probe
LIMITS = MediaLimits(max_minutes=120)
MEGA = 1 << 20


def declared(
    video: dict[str, Any] | None = None,
    audio: dict[str, Any] | None = None,
    *,
    seconds: float = 60,
    limits: MediaLimits = LIMITS,
    container: str = "mov",
) -> str | None:
    picture, sound = replace(VIDEO, **(video or {})), replace(AUDIO, **(audio or {}))
    info = MediaInfo(container, seconds, (picture, sound))  # type: ignore[arg-type]
    try:
        refuse_declared_excess(info, picture, sound, limits)
    except MediaRefused as refusal:
        return refusal.code
    return None


def found(*, seconds: float = 60.0, pictures: int = 1500, size: int = MEGA, limits: MediaLimits = LIMITS) -> str | None:
    spans = {0: Span(0.0, seconds - 0.04, seconds, pictures), 1: Span(0.0, seconds - 0.02, seconds, 100)}
    try:
        refuse_excess(VIDEO, Demuxed(spans), seconds, size, limits)
    except MediaRefused as refusal:
        return refusal.code
    return None


@pytest.mark.parametrize(
    ("video", "audio", "code"),
    [
        ({"width": 7680, "height": 4320}, {}, None),
        ({"width": 7681, "height": 4320}, {}, "picture_too_large"),
        ({"width": 1, "height": 7680 * 4320}, {}, None),
        ({"width": 16384, "height": 16384}, {}, "picture_too_large"),
        ({}, {"channels": 16}, None),
        ({}, {"channels": 17}, "too_many_channels"),
        ({}, {"sample_rate": 768_000}, None),
        ({}, {"sample_rate": 768_001}, "sample_rate_too_high"),
    ],
)
def test_what_a_header_may_declare(video: dict[str, Any], audio: dict[str, Any], code: str | None) -> None:
    assert declared(video, audio) == code


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"max_width": 640, "max_height": 360, "max_pixels": 640 * 360}, None),
        ({"max_width": 639}, "picture_too_large"),
        ({"max_height": 359}, "picture_too_large"),
        ({"max_pixels": 640 * 360 - 1}, "picture_too_large"),
        ({"max_width": 0, "max_height": 0, "max_pixels": 0}, None),
    ],
)
def test_an_installation_may_allow_less_than_8k(limits: dict[str, int], code: str | None) -> None:
    """MAX_VIDEO_WIDTH, MAX_VIDEO_HEIGHT and MAX_VIDEO_PIXELS of the predecessor; 0 is off."""
    assert declared(limits=replace(LIMITS, **limits)) == code


def test_a_length_that_is_declared_is_believed_where_containers_declare_one() -> None:
    assert declared(seconds=7200) is None
    assert declared(seconds=7201) == "too_long"
    assert declared(seconds=7201, container="mpegts") is None, "ffmpeg's guess; what was found decides"


def test_what_was_found_decides_over_what_was_declared() -> None:
    assert found(seconds=7200, pictures=180_000, size=100 * MEGA) is None
    assert found(seconds=7201, pictures=180_000, size=100 * MEGA) == "too_long"
    assert found(seconds=0.5, pictures=12) == "too_short"
    assert found(seconds=10, pictures=2400) is None
    assert found(seconds=10, pictures=2401) == "frame_rate_too_high"


def test_bits_per_second_are_those_of_a_film() -> None:
    assert found(seconds=1000, size=125_000) is None
    assert found(seconds=1000, size=124_999) == "bit_rate_implausible"
    assert found(seconds=1, pictures=25, size=1_250_000_000) is None
    assert found(seconds=1, pictures=25, size=1_250_000_001) == "bit_rate_implausible"


def test_tracks_are_counted_before_they_are_looked_at() -> None:
    with pytest.raises(MediaRefused) as caught:
        tracks_of(MediaInfo("matroska", 60, (VIDEO,) * 33))
    assert caught.value.code == "too_many_streams"
    assert tracks_of(MediaInfo("matroska", 60, (VIDEO, *(AUDIO,) * 31))) == (VIDEO, AUDIO)
