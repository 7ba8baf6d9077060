"""What the stages audio, mix and mux promise, heard and counted in the files that they write."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyloudnorm
import pytest
import soundfile

from services.worker.dubbing.ducking import DEPTH_DB
from services.worker.stages import mux
from services.worker.stages.media_engine import measure
from shared.ffmpeg import Ffmpeg
from shared.keeping import Keeping
from shared.media_probe import demux, probe
from tests.integration.media.films import (
    BED_HZ,
    LINES,
    RATE,
    SAID,
    VOICE_HZ,
    VOICE_SPANS,
    Dubbed,
    amplitude,
    delayed,
    dub,
    make_film,
    voice_track,
)

PRIVATE = "very private"


@pytest.fixture(scope="module")
def film(ffmpeg: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of H.264 and stereo AAC."""
    return make_film(ffmpeg, tmp_path_factory.mktemp("film") / "film.mp4", "mp4")


@pytest.fixture(scope="module")
def dubbed(ffmpeg: Ffmpeg, film: Path, tmp_path_factory: pytest.TempPathFactory) -> Dubbed:
    """That film, dubbed: most tests only look at it."""
    return dub(ffmpeg, tmp_path_factory.mktemp("data"), film)


@pytest.fixture(scope="module")
def awkward(ffmpeg: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Dubbed:
    """A dub of a Matroska film that says something private, with a name that a shell or ffmpeg could misread."""
    data = tmp_path_factory.mktemp("awkward") / "it's; $(rm) %03d \n [0:a] 'x'\\:=,"
    data.mkdir()
    extra = ["-metadata", f"title={PRIVATE}", "-metadata:s:a:0", f"title={PRIVATE}"]
    return dub(ffmpeg, data, make_film(ffmpeg, data / "-i concat:.mkv", "matroska", extra=extra))


@pytest.fixture(scope="module")
def quicktime(ffmpeg: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Dubbed:
    """A dub of a QuickTime film whose sound Matroska cannot carry."""
    data = tmp_path_factory.mktemp("quicktime")
    return dub(ffmpeg, data, make_film(ffmpeg, data / "film.mov", "mov", encoding=["-c:a", "pcm_s16be"]))


@pytest.fixture(scope="module")
def rare(ffmpeg: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Dubbed:
    """A dub of a film with surround sound and a picture of an odd size, in colours that browsers do not play."""
    data = tmp_path_factory.mktemp("rare")
    video = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv444p"]
    encoding = ["-c:a", "ac3", "-b:a", "448k"]
    film = make_film(
        ffmpeg, data / "film.mkv", "matroska", size="161x121", layout="5.1(side)", video=video, encoding=encoding
    )
    return dub(ffmpeg, data, film)


def streams(ffmpeg: Ffmpeg, path: Path) -> list[dict[str, Any]]:
    lines = ffmpeg.ffprobe_lines(["-show_streams", "-of", "json", "-i", f"file:{path}"])
    described = json.loads("\n".join(line for line in lines if not line.startswith("log ")))
    return list(described["streams"])


def packets(ffmpeg: Ffmpeg, path: Path) -> list[str]:
    """Size and hash of every packet of the picture, in order."""
    args = ["-i", f"file:{path}", "-map", "0:v:0", "-c", "copy", "-f", "framemd5", "-"]
    lines = ffmpeg.run(args).stdout.decode().splitlines()
    return [",".join(line.split(",")[4:]) for line in lines if not line.startswith("#")]


def on_dispositions(stream: dict[str, Any]) -> set[str]:
    return {name for name, value in stream["disposition"].items() if value}


class TestAudio:
    def test_recognisers_get_16_khz_mono_exactly_as_long_as_the_picture(self, dubbed: Dubbed) -> None:
        info = soundfile.info(dubbed.context.paths.asr_audio)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert info.frames == 6 * 16_000
        assert dubbed.facts["duration_s"] == 6.0
        assert dubbed.facts["frame_rate"] == "25/1"
        assert dubbed.results["audio"].issues == []

    def test_sound_that_starts_late_stays_late(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        prompt = make_film(ffmpeg, tmp_path / "prompt.mp4", "mp4")
        film = delayed(ffmpeg, prompt, tmp_path / "late.mp4", "mp4", audio_s=1.0)
        dubbed = dub(ffmpeg, tmp_path, film, until="audio")
        samples, _ = soundfile.read(dubbed.context.paths.asr_audio)
        first = int(np.argmax(np.abs(samples) > 0.01)) / 16_000
        assert first == pytest.approx(1.0, abs=0.03)

    def test_sound_beyond_the_last_picture_is_reported(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        sound = f"sine=f={BED_HZ}:d=9:r={RATE}"
        film = make_film(ffmpeg, tmp_path / "long.mp4", "mp4", sound=sound)
        assert dub(ffmpeg, tmp_path, film, until="audio").issues == ["sound_beyond_picture"]


class TestMix:
    @pytest.mark.parametrize("layout", ["mono", "stereo", "5.1", "quad", "7.1"])
    def test_layout_length_and_loudness_are_kept(self, ffmpeg: Ffmpeg, tmp_path: Path, layout: str) -> None:
        encoding = ["-c:a", "flac"]
        film = make_film(ffmpeg, tmp_path / "film.mkv", "matroska", layout=layout, encoding=encoding)
        dubbed = dub(ffmpeg, tmp_path, film, until="mix")
        path = dubbed.context.paths.final_mix
        track = probe(ffmpeg, path).audio
        assert track is not None
        assert (track.layout, track.sample_rate, track.codec) == (layout, RATE, "pcm_f32le")
        assert soundfile.info(path).frames == round(float(dubbed.facts["duration_s"]) * RATE)
        loudness = measure(ffmpeg, path)
        assert loudness.integrated == pytest.approx(-16.0, abs=0.5)
        assert loudness.true_peak <= -1.0
        assert dubbed.issues == []

    def test_an_independent_meter_agrees(self, dubbed: Dubbed) -> None:
        samples, rate = soundfile.read(dubbed.context.paths.final_mix)
        assert pyloudnorm.Meter(rate).integrated_loudness(samples) == pytest.approx(-16.0, abs=0.5)

    def test_the_original_is_down_under_the_voice_and_only_there(self, dubbed: Dubbed) -> None:
        left = soundfile.read(dubbed.context.paths.final_mix, dtype="float32")[0][:, 0]
        start, end = VOICE_SPANS[0]
        under = amplitude(left, BED_HZ, start, end)
        free = amplitude(left, BED_HZ, 5.0, 6.0)
        assert 20 * math.log10(under / free) == pytest.approx(DEPTH_DB, abs=0.5)
        assert amplitude(left, VOICE_HZ, start, end) > 4 * under

    def test_the_voice_of_a_surround_film_is_in_the_centre_alone(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        film = make_film(ffmpeg, tmp_path / "film.mp4", "mp4", layout="5.1")
        dubbed = dub(ffmpeg, tmp_path, film, until="mix")
        samples = soundfile.read(dubbed.context.paths.final_mix, dtype="float32")[0]
        heard = [amplitude(samples[:, channel], VOICE_HZ, *VOICE_SPANS[0]) for channel in range(6)]
        assert heard[2] > 0.05
        assert max(heard[:2] + heard[3:]) < heard[2] / 100

    def test_peaks_are_limited_without_moving_the_voice(self, ffmpeg: Ffmpeg, tmp_path: Path, film: Path) -> None:
        track = voice_track(6.0, level=0.02)
        clicks = np.arange(round(1.1 * RATE), round(2.0 * RATE), RATE // 10)
        for click in clicks:
            track[click : click + 24] += 0.9 * np.hanning(24)
        dubbed = dub(ffmpeg, tmp_path, film, track, until="mix")
        samples = soundfile.read(dubbed.context.paths.final_mix, dtype="float32")[0][:, 0]
        assert dubbed.facts["limited"] is True
        assert measure(ffmpeg, dubbed.context.paths.final_mix).true_peak <= -1.0
        assert samples.size == 6 * RATE
        for click in clicks:
            around = np.abs(samples[click - 480 : click + 480])
            assert abs(int(np.argmax(around)) - 480 - 12) <= 4

    def test_a_voice_that_cannot_be_heard_is_an_issue(self, ffmpeg: Ffmpeg, tmp_path: Path, film: Path) -> None:
        dubbed = dub(ffmpeg, tmp_path, film, np.zeros(6 * RATE, np.float32), until="mix")
        assert "silent_dialogue" in dubbed.issues

    def test_the_same_inputs_give_the_same_bytes(
        self, ffmpeg: Ffmpeg, tmp_path: Path, film: Path, dubbed: Dubbed
    ) -> None:
        again = dub(ffmpeg, tmp_path, film, until="mix")
        assert again.results["mix"].outputs[0].sha256 == dubbed.results["mix"].outputs[0].sha256


class TestMux:
    def test_the_matroska_file_has_the_promised_tracks(self, ffmpeg: Ffmpeg, dubbed: Dubbed) -> None:
        made = streams(ffmpeg, dubbed.context.paths.dub_mkv)
        assert [(s["codec_type"], s["codec_name"], s.get("tags", {}).get("language")) for s in made] == [
            ("video", "h264", None),
            ("audio", "aac", "por"),
            ("audio", "aac", "eng"),
            ("subtitle", "subrip", "por"),
            ("subtitle", "subrip", "eng"),
        ]
        assert [s.get("tags", {}).get("title") for s in made[1:]] == [
            "Portuguese (dub)",
            "English (original)",
            "Portuguese (dub)",
            "English (original)",
        ]
        assert on_dispositions(made[1]) >= {"default"}
        assert on_dispositions(made[2]) == {"original"}
        assert "default" not in on_dispositions(made[3]) | on_dispositions(made[4])
        assert dubbed.issues == []

    def test_the_mp4_plays_in_a_browser(self, ffmpeg: Ffmpeg, dubbed: Dubbed) -> None:
        path = dubbed.context.paths.dub_mp4
        made = streams(ffmpeg, path)
        assert [(s["codec_type"], s["codec_name"], s["tags"]["language"]) for s in made] == [
            ("video", "h264", "und"),
            ("audio", "aac", "por"),
            ("subtitle", "mov_text", "por"),
            ("subtitle", "mov_text", "eng"),
        ]
        assert made[0]["pix_fmt"] == "yuv420p"
        data = path.read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")

    @pytest.mark.parametrize("source", ["dubbed", "awkward", "quicktime"])
    def test_the_picture_is_copied_bit_by_bit(
        self, ffmpeg: Ffmpeg, request: pytest.FixtureRequest, source: str
    ) -> None:
        """From MP4, Matroska and QuickTime."""
        dubbed: Dubbed = request.getfixturevalue(source)
        original = packets(ffmpeg, dubbed.context.source)
        assert len(original) == 150
        assert packets(ffmpeg, dubbed.context.paths.dub_mkv) == original
        assert packets(ffmpeg, dubbed.context.paths.dub_mp4) == original

    def test_a_picture_that_browsers_cannot_play_is_encoded_for_the_mp4_only(
        self, ffmpeg: Ffmpeg, rare: Dubbed
    ) -> None:
        mp4 = streams(ffmpeg, rare.context.paths.dub_mp4)[0]
        assert (mp4["codec_name"], mp4["pix_fmt"], mp4["width"], mp4["height"]) == ("h264", "yuv420p", 160, 120)
        assert packets(ffmpeg, rare.context.paths.dub_mkv) == packets(ffmpeg, rare.context.source)
        assert rare.facts["mp4_video"] == "encoded"

    def test_the_encoded_dub_is_still_at_its_loudness(self, ffmpeg: Ffmpeg, dubbed: Dubbed) -> None:
        for path in (dubbed.context.paths.dub_mkv, dubbed.context.paths.dub_mp4):
            loudness = measure(ffmpeg, path)
            assert loudness.integrated == pytest.approx(-16.0, abs=0.5)
            assert loudness.true_peak <= -1.0

    @pytest.mark.parametrize("muxer", ["mp4", "matroska"])
    @pytest.mark.parametrize("late", ["video_s", "audio_s"])
    def test_picture_and_voice_keep_their_distance(
        self, ffmpeg: Ffmpeg, tmp_path: Path, film: Path, late: str, muxer: str
    ) -> None:
        film = delayed(ffmpeg, film, tmp_path / "late", muxer, **{late: 0.48})
        dubbed = dub(ffmpeg, tmp_path, film)
        expected = VOICE_SPANS[0][0] - demux(ffmpeg, film, 30).spans[0].start_s
        assert expected == pytest.approx(0.52 if late == "video_s" else 1.0, abs=0.03)
        for path in (dubbed.context.paths.dub_mkv, dubbed.context.paths.dub_mp4):
            video = demux(ffmpeg, path, 30).spans[0]
            args = ["-i", f"file:{path}", "-map", "0:a:0", "-af", "aresample=async=1:first_pts=0"]
            raw = ffmpeg.run([*args, "-ac", "1", "-f", "f32le", "-"]).stdout
            samples = np.frombuffer(raw, dtype="<f4")
            steps = [amplitude(samples, VOICE_HZ, at, at + 0.005) for at in np.arange(0.0, 2.0, 0.005)]
            onset = 0.005 * next(i for i, heard in enumerate(steps) if heard > max(steps) / 2)
            assert onset - video.start_s == pytest.approx(expected, abs=0.01)

    def test_sound_that_matroska_cannot_carry_is_encoded(self, ffmpeg: Ffmpeg, quicktime: Dubbed) -> None:
        made = streams(ffmpeg, quicktime.context.paths.dub_mkv)
        assert [s["codec_name"] for s in made[1:3]] == ["aac", "aac"]

    def test_surround_stays_surround(self, ffmpeg: Ffmpeg, rare: Dubbed) -> None:
        made = streams(ffmpeg, rare.context.paths.dub_mkv)
        assert [(s["codec_name"], s["channel_layout"]) for s in made[1:3]] == [("aac", "5.1"), ("ac3", "5.1(side)")]

    def test_transport_streams_and_avi_are_dubbed_too(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        for muxer, video, encoding in (
            ("mpegts", ["-c:v", "mpeg2video"], ["-c:a", "mp2"]),
            ("avi", ["-c:v", "mpeg4", "-bf", "2"], ["-c:a", "libmp3lame"]),
        ):
            film = make_film(ffmpeg, tmp_path / muxer, muxer, video=video, encoding=encoding)
            dubbed = dub(ffmpeg, tmp_path / f"data-{muxer}", film)
            assert dubbed.issues == []
            assert streams(ffmpeg, dubbed.context.paths.dub_mp4)[0]["codec_name"] == "h264"

    def test_nothing_of_the_source_s_metadata_gets_through(self, awkward: Dubbed) -> None:
        assert awkward.context.source.read_bytes().count(PRIVATE.encode()) == 2
        for path in (awkward.context.paths.dub_mkv, awkward.context.paths.dub_mp4):
            assert PRIVATE.encode() not in path.read_bytes()

    def test_the_same_inputs_give_the_same_bytes(self, dubbed: Dubbed) -> None:
        paths = (dubbed.context.paths.dub_mkv, dubbed.context.paths.dub_mp4)
        first = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
        mux.run(dubbed.context)
        assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths] == first

    def test_the_subtitle_files_stand_beside(self, dubbed: Dubbed) -> None:
        names = {output.name: output.path for output in dubbed.results["mux"].outputs}
        assert names["subs_target_srt"] == "film/subs/film.pt.srt"
        assert names["subs_source_vtt"] == "film/subs/film.en.vtt"
        text = (dubbed.context.paths.output_root / names["subs_target_srt"]).read_text()
        assert "00:00:01,000 --> " in text
        assert "jovem" in text

    def test_of_a_job_that_keeps_no_text_no_file_can_be_read(self, ffmpeg: Ffmpeg, film: Path, tmp_path: Path) -> None:
        usual = dub(ffmpeg, tmp_path, film, until="mix").context
        job = usual.command.job.model_copy(update={"keeping": Keeping(transcript=False)})
        context = replace(usual, command=usual.command.model_copy(update={"job": job}))
        result = mux.run(context)
        assert [output.name for output in result.outputs] == ["dub_mkv", "dub_mp4"]
        assert result.issues == []
        assert not context.paths.subs.exists()
        for path in (context.paths.dub_mkv, context.paths.dub_mp4):
            assert {stream["codec_type"] for stream in streams(ffmpeg, path)} == {"video", "audio"}
            assert not [text for text in (*LINES, *SAID) if text.encode() in path.read_bytes()]
        assert mux.params(context.command) != mux.params(usual.command), "jobs that keep theirs do not re-use it"

    def test_a_name_that_a_shell_or_ffmpeg_could_misread_is_only_a_name(self, awkward: Dubbed) -> None:
        assert awkward.issues == []
