"""Pure parts of the media stages: channel plans, loudness tries, language codes, the meter's log."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.stages.channels import CHANNELS, plan_channels
from services.worker.stages.language_tags import english_name, iso_639_2
from services.worker.stages.loudness import CEILING_DBTP, TARGET_LUFS, Level, first_level, next_level
from services.worker.stages.media_engine import Loudness, read_meter
from services.worker.stages.mix import MAX_GAIN_DB, gain_to
from shared.media_probe import Span, StreamInfo, picture_end


class TestChannels:
    @pytest.mark.parametrize("layout", CHANNELS)
    def test_a_named_layout_is_kept_and_the_voice_keeps_its_power(self, layout: str) -> None:
        plan = plan_channels(layout, CHANNELS[layout])
        assert (plan.layout, plan.channels, plan.kept) == (layout, CHANNELS[layout], True)
        assert sum(gain**2 for gain in plan.voice) == pytest.approx(1.0)

    def test_the_voice_sits_in_the_centre_of_surround(self) -> None:
        assert plan_channels("5.1", 6).voice == (0, 0, 1, 0, 0, 0)

    def test_side_speakers_are_back_speakers_to_aac(self) -> None:
        assert plan_channels("5.1(side)", 6).layout == "5.1"

    @pytest.mark.parametrize(
        ("layout", "channels", "expected"), [("", 6, "5.1"), ("7.1(wide)", 8, "7.1"), ("", 1, "mono")]
    )
    def test_an_unnamed_layout_is_the_usual_one_of_its_size(self, layout: str, channels: int, expected: str) -> None:
        assert plan_channels(layout, channels).layout == expected

    def test_too_many_channels_become_stereo_and_say_so(self) -> None:
        plan = plan_channels("hexadecagonal", 16)
        assert (plan.layout, plan.kept) == ("stereo", False)


class TestLoudness:
    def test_silence_is_left_alone(self) -> None:
        assert first_level(Loudness(-70.0, -math.inf)) == Level(0.0, None)

    def test_quiet_sound_is_raised_without_a_limiter_while_peaks_allow(self) -> None:
        assert first_level(Loudness(-20.0, -10.0)) == Level(4.0, None)
        assert first_level(Loudness(-20.0, -3.0)) == Level(4.0, CEILING_DBTP)

    def test_a_good_result_ends_the_search(self) -> None:
        assert next_level(Level(4.0, None), Loudness(-16.1, -2.0)) is None

    def test_what_the_limiter_took_is_given_back(self) -> None:
        following = next_level(Level(4.0, CEILING_DBTP), Loudness(-17.0, -2.0))
        assert following == Level(5.0, CEILING_DBTP)

    def test_a_peak_above_the_ceiling_brings_the_limiter_in_and_then_lower(self) -> None:
        first = next_level(Level(4.0, None), Loudness(-16.0, -1.5))
        assert first == Level(4.0, CEILING_DBTP)
        second = next_level(first, Loudness(-16.0, -1.8))
        assert second is not None
        assert second.ceiling_db == pytest.approx(CEILING_DBTP - 0.2)

    @given(st.floats(-69.9, 0), st.floats(-80, 6))
    def test_the_first_gain_always_aims_at_the_target(self, integrated: float, peak: float) -> None:
        level = first_level(Loudness(integrated, peak))
        assert integrated + level.gain_db == pytest.approx(TARGET_LUFS)
        assert level.ceiling_db is not None or peak + level.gain_db <= CEILING_DBTP

    @given(st.floats(-120, 0))
    def test_noise_is_not_raised_to_speech(self, integrated: float) -> None:
        assert 0 < gain_to(TARGET_LUFS, integrated) <= 10 ** (MAX_GAIN_DB / 20)


class TestMeter:
    LOG = ("    I:         -22.8 LUFS", "    Threshold: -33.5 LUFS", "  True peak:", "    Peak:       -6.2 dBFS")

    def test_the_summary_is_read(self) -> None:
        assert read_meter(self.LOG) == Loudness(-22.8, -6.2)

    def test_silence(self) -> None:
        silent = read_meter(["    I:         -70.0 LUFS", "    Peak:       -inf dBFS"])
        assert silent.silent
        assert silent.true_peak == -math.inf

    def test_a_log_without_a_summary_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="no loudness"):
            read_meter(["size=N/A"])


class TestLanguages:
    @pytest.mark.parametrize(
        ("tag", "code"), [("pt", "por"), ("pt-BR", "por"), ("EN", "eng"), ("de", "deu"), ("zh", "zho"), ("fil", "fil")]
    )
    def test_known_tags(self, tag: str, code: str) -> None:
        assert iso_639_2(tag) == code

    @pytest.mark.parametrize("tag", ["", "xx", "auto", "x-klingon", "日本語"])
    def test_unknown_tags_are_undetermined(self, tag: str) -> None:
        assert iso_639_2(tag) == "und"

    def test_names(self) -> None:
        assert english_name("pt-BR") == "Portuguese"
        assert english_name("xx") == "xx"


class TestPictureEnd:
    def stream(self, rate: str) -> StreamInfo:
        return StreamInfo(0, "video", "h264", 0, None, None, True, False, frame_rate=rate)  # noqa: FBT003 -- a field of the probe

    def test_a_stated_duration_counts(self) -> None:
        assert picture_end(self.stream("25/1"), Span(0, 3.96, 4.0, 100)) == 4.0

    def test_the_last_frame_lasts_as_long_as_the_others_where_none_is_stated(self) -> None:
        assert picture_end(self.stream("25/1"), Span(0, 3.96, 3.96, 100)) == pytest.approx(4.0)
        assert picture_end(self.stream("0/0"), Span(0, 3.96, 3.96, 100)) == pytest.approx(4.0)
