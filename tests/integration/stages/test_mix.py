"""The two mixes that the setting `mix` chooses between, heard in the files that they write."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from services.worker.dubbing.ducking import DEPTH_DB
from services.worker.stages import audio, mix
from services.worker.stages.media_engine import measure
from shared.ffmpeg import Ffmpeg
from shared.media_probe import probe
from tests.integration.media.films import (
    BED_HZ,
    RATE,
    VOICE_HZ,
    VOICE_SPANS,
    Dubbed,
    after,
    amplitude,
    context_for,
    make_film,
    spoken,
    voice_track,
)

FLAC = ["-c:a", "flac"]
SECONDS = 6.0


def mixed(data: Path, how: str, layout: str = "stereo", *, quiet_second_line: bool = False) -> Dubbed:
    """Return a film after the mix stage with this setting; its second line can be 20 dB below the first."""
    ffmpeg = Ffmpeg.find()
    data.mkdir(exist_ok=True)
    film = make_film(ffmpeg, data / "film.mkv", "matroska", layout=layout, encoding=FLAC, seconds=SECONDS)
    context = context_for(ffmpeg, data, film)
    track = voice_track(SECONDS)
    if quiet_second_line:
        track[round(VOICE_SPANS[1][0] * RATE) :] *= 0.1
    context = after(context, audio.run(context), spoken(context, SECONDS, track))
    context = replace(context, command=context.command.model_copy(update={"settings": {"mix": how}}))
    return Dubbed(context, {"mix": mix.run(context)})


def depth_db(dubbed: Dubbed, line: int) -> float:
    """Return how far the bed is down in the middle of a line."""
    left = soundfile.read(dubbed.context.paths.final_mix, dtype="float32")[0][:, 0]
    start, end = VOICE_SPANS[line]
    return 20 * math.log10(amplitude(left, BED_HZ, start + 0.3, end - 0.1) / amplitude(left, BED_HZ, 5.0, 5.9))


@pytest.mark.parametrize("how", ["enhanced", "legacy"])
@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_both_mixes_keep_layout_and_length_and_reach_the_loudness(tmp_path: Path, how: str, layout: str) -> None:
    dubbed = mixed(tmp_path, how, layout)
    path = dubbed.context.paths.final_mix
    track = probe(dubbed.context.ffmpeg, path).audio
    assert track is not None
    assert (track.layout, track.sample_rate, track.codec) == (layout, RATE, "pcm_f32le")
    assert soundfile.info(path).frames == round(SECONDS * RATE)
    loudness = measure(dubbed.context.ffmpeg, path)
    assert loudness.integrated == pytest.approx(-16.0, abs=0.5)
    assert loudness.true_peak <= -1.0
    assert dubbed.issues == []


def test_enhanced_lowers_by_the_same_under_loud_and_quiet_lines_and_legacy_by_the_voice_s_level(tmp_path: Path) -> None:
    planned = mixed(tmp_path / "enhanced", "enhanced", quiet_second_line=True)
    followed = mixed(tmp_path / "legacy", "legacy", quiet_second_line=True)
    assert [depth_db(planned, line) for line in (0, 1)] == [pytest.approx(DEPTH_DB, abs=0.5)] * 2
    loud, quiet = (depth_db(followed, line) for line in (0, 1))
    assert loud < -10
    assert loud + 5 < quiet


def test_legacy_puts_the_voice_of_a_surround_film_into_the_centre_alone(tmp_path: Path) -> None:
    samples = soundfile.read(mixed(tmp_path, "legacy", "5.1").context.paths.final_mix, dtype="float32")[0]
    heard = [amplitude(samples[:, channel], VOICE_HZ, *VOICE_SPANS[0]) for channel in range(6)]
    assert heard[2] > 0.05
    assert max(heard[:2] + heard[3:]) < heard[2] / 100


def test_legacy_speaks_on_time(tmp_path: Path) -> None:
    left = soundfile.read(mixed(tmp_path, "legacy").context.paths.final_mix, dtype="float32")[0][:, 0]
    steps = [amplitude(left, VOICE_HZ, at, at + 0.005) for at in np.arange(0.0, 2.0, 0.005)]
    onset = 0.005 * next(i for i, heard in enumerate(steps) if heard > max(steps) / 2)
    assert onset == pytest.approx(VOICE_SPANS[0][0], abs=0.01)


def test_legacy_gives_the_same_bytes_each_time(tmp_path: Path) -> None:
    first, again = (mixed(tmp_path / name, "legacy").results["mix"].outputs[0] for name in ("first", "again"))
    assert first.sha256 == again.sha256


def test_the_two_mixes_have_keys_of_their_own(tmp_path: Path) -> None:
    order = mixed(tmp_path, "legacy").context.command
    assert mix.params(order)["mix"] == "legacy"
    assert mix.params(order.model_copy(update={"settings": {}}))["mix"] == "enhanced"
