"""Argument lists of ffmpeg: what is put before every input, and that graphs parse on every ffmpeg."""

import re
from pathlib import Path

import pytest

from services.worker.stages import audio, loudness, mix, mux
from services.worker.stages.channels import plan_channels
from services.worker.stages.subtitles import SubtitleTrack
from shared.media_inputs import UnknownMediaError, opened, sniff
from shared.media_probe import MediaInfo, StreamInfo

VIDEO = StreamInfo(0, "video", "h264", 0, 6, None, True, False, 64, 48, "yuv420p", "25/1", "25/1")  # noqa: FBT003 -- a field of the probe
AUDIO = StreamInfo(1, "audio", "aac", 0, 6, None, True, False, channels=2, layout="stereo", sample_rate=48000)  # noqa: FBT003 -- a field of the probe
SUBTITLES = tuple(SubtitleTrack(role, lang, Path(f"{lang}.srt"), 3, [], []) for role, lang in (("target", "pt"), ("source", "en")))  # type: ignore[arg-type]  # fmt: skip  # noqa: E501 -- a table
HERE = Path("x.wav")


def parts(video: StreamInfo = VIDEO, original: StreamInfo = AUDIO, container: str = "mov") -> mux.Parts:
    info = MediaInfo(container, 6.0, (video, original))  # type: ignore[arg-type]
    return mux.Parts(Path("in.mp4"), info, video, original, "en", HERE, "pt", 2, SUBTITLES, 4)


RUNS = {
    "audio": audio.arguments(Path("in.mp4"), 1, 6.0, HERE),
    "original": mix.original_arguments(Path("in.mp4"), 1, plan_channels("5.1(side)", 6), 288_000),
    "premix": mix.premix_arguments(plan_channels("quad", 4), HERE),
    "gain": loudness.arguments(HERE, HERE, loudness.Level(3.0, None), 288_000),
    "limiter": loudness.arguments(HERE, HERE, loudness.Level(3.0, -2.0), 288_000),
    "mkv": mux.matroska_arguments(parts(), HERE),
    "mp4": mux.mp4_arguments(parts(), HERE),
}


@pytest.mark.parametrize("args", RUNS.values(), ids=RUNS.keys())
def test_no_graph_ends_with_a_separator_or_holds_an_empty_filter(args: list[str]) -> None:
    """ffmpeg 5 and older refuse what 6 and newer forgive (the predecessor's fault V15)."""
    graphs = [args[i + 1] for i, arg in enumerate(args) if arg in {"-filter_complex", "-af", "-vf"}]
    for graph in graphs:
        assert not re.search(r"[;,]\s*$|[;,]\s*[;,]|^\s*[;,]", graph)


@pytest.mark.parametrize("args", RUNS.values(), ids=RUNS.keys())
def test_every_output_is_bit_exact_and_without_the_source_s_tags(args: list[str]) -> None:
    outputs = [arg for arg in args if arg.startswith("file:x.")]
    inputs = [args[i + 1] for i, arg in enumerate(args) if arg == "-i" and args[i + 1].startswith("file:x.")]
    made = len(outputs) - len(inputs)
    assert args.count("-map_metadata") == made
    assert sum(args[i : i + 2] == ["-fflags", "+bitexact"] for i in range(len(args))) == made


class TestInputs:
    def test_a_file_is_opened_by_one_demuxer_without_a_name(self, tmp_path: Path) -> None:
        film = tmp_path / "a film.mp4"
        film.write_bytes(b"\0\0\0\x20ftypisom")
        with opened(["-t", "1", "-i", f"file:{film}", "-f", "null", "-"], threads=3) as made:
            before = made.args[: made.args.index("-i")]
            assert before[:8] == [
                "-t", "1", "-protocol_whitelist", "file,pipe", "-format_whitelist", "mov", "-f", "mov",
            ]  # fmt: skip
            assert "-enable_drefs" in before
            assert before[before.index("-threads") + 1] == "3"
            assert made.args[made.args.index("-i") + 1] == f"file:/proc/self/fd/{made.fds[0]}"
            assert made.args[-3:] == ["-f", "null", "-"]

    def test_an_output_is_created_and_named_by_descriptor(self, tmp_path: Path) -> None:
        target = tmp_path / "out.mkv"
        with opened(["-f", "lavfi", "-i", "sine", "-f", "matroska", f"file:{target}"], threads=1) as made:
            assert target.exists()
            assert made.args == ["-f", "lavfi", "-i", "sine", "-f", "matroska", f"file:/proc/self/fd/{made.fds[0]}"]

    @pytest.mark.parametrize("name", ["http://host/x", "/etc/passwd", "concat:a|b", "x.mp4", "data:,", "subfile:x"])
    def test_an_input_of_any_other_kind_is_a_mistake(self, name: str) -> None:
        with pytest.raises(ValueError, match="must be"), opened(["-i", name], threads=1):
            pass

    def test_unknown_bytes_are_refused_before_anything_is_opened(self, tmp_path: Path) -> None:
        playlist = tmp_path / "film.mp4"
        playlist.write_text("#EXTM3U\n")
        with pytest.raises(UnknownMediaError), opened(["-i", f"file:{playlist}"], threads=1):
            pass

    @pytest.mark.parametrize(
        ("head", "container"),
        [
            (b"\0\0\0\x18ftypmp42", "mov"),
            (b"\0\0\0\x08wide\0\0", "mov"),
            (b"\x1aE\xdf\xa3\x01", "matroska"),
            (b"RIFF\0\0\0\0AVI LIST", "avi"),
            (b"RIFF\0\0\0\0WAVEfmt ", "wav"),
            (b"RF64\xff\xff\xff\xffWAVEds64", "wav"),
            (b"RIFF\0\0\0\0WEBPVP8 ", None),
            (b"OggS\0", "ogg"),
            (b"fLaC\0", "flac"),
            (b"ID3\x04", "mp3"),
            (b"\xff\xfb\x90\x64", "mp3"),
            (b"\xff\xd8\xff\xe0", None),
            ((b"G" + bytes(187)) * 4, "mpegts"),
            ((bytes(4) + b"G" + bytes(187)) * 4, "mpegts"),
            (b"G" + bytes(500), None),
            (b"#EXTM3U\n#EXTINF:1,\n", None),
            (b"ffconcat version 1.0\n", None),
            (b"", None),
        ],
    )
    def test_first_bytes_name_the_container(self, head: bytes, container: str | None) -> None:
        assert sniff(head) == container


class TestMux:
    def test_the_picture_is_copied_where_browsers_can_play_it(self) -> None:
        args = mux.mp4_arguments(parts(), HERE)
        assert args[args.index("-c:v") + 1] == "copy"
        assert args[args.index("-movflags") + 1] == "+faststart"

    @pytest.mark.parametrize(
        ("codec", "pixels", "container"),
        [("vp9", "yuv420p", "matroska"), ("h264", "yuv420p10le", "mov"), ("h264", "yuv420p", "avi")],
    )
    def test_and_encoded_elsewhere(self, codec: str, pixels: str, container: str) -> None:
        video = StreamInfo(0, "video", codec, 0, 6, None, True, False, 64, 48, pixels)  # noqa: FBT003 -- a field of the probe
        args = mux.mp4_arguments(parts(video, container=container), HERE)
        assert args[args.index("-c:v") + 1] == "libx264"
        assert args[args.index("-pix_fmt") + 1] == "yuv420p"

    def test_an_original_that_matroska_cannot_carry_is_encoded_at_its_channels(self) -> None:
        odd = StreamInfo(1, "audio", "pcm_s16be", 0, 6, None, True, False, channels=6, layout="5.1")  # noqa: FBT003 -- a field of the probe
        args = mux.matroska_arguments(parts(original=odd), HERE)
        assert args[args.index("-c:a:1") + 1] == "aac"
        assert args[args.index("-b:a:1") + 1] == "576000"

    def test_avi_gets_the_times_that_it_lacks(self) -> None:
        args = mux.matroska_arguments(parts(container="avi"), HERE)
        assert args[: args.index("-i")] == ["-fflags", "+genpts"]
