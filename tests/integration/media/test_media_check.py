"""Which uploads are refused, and why: real files, each bad in one way."""

import functools
import json
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.ffmpeg import Ffmpeg
from shared.ffmpeg_binaries import CHILD_ENV
from shared.media_check import check_media
from shared.media_inputs import UnknownMediaError
from shared.media_policy import MediaLimits, MediaRefused
from tests.integration.media.films import H264, make_film

SAMPLE = Path(__file__).parents[3] / "samples" / "sense-and-sensibility.mp4"
MINUTES = 5.0
LIMITS = MediaLimits(MINUTES)


def refusal(ffmpeg: Ffmpeg, path: Path, max_minutes: float = MINUTES) -> str:
    with pytest.raises(MediaRefused) as caught:
        check_media(path, MediaLimits(max_minutes), ffmpeg)
    assert caught.value.message.endswith((".", "?"))
    assert path.stem not in caught.value.message
    return caught.value.code


def speaking(ffmpeg: Ffmpeg, path: Path, muxer: str, args: list[str]) -> Path:
    """The sample in other clothes."""
    ffmpeg.run(["-i", f"file:{SAMPLE}", "-t", "6", *args, "-f", muxer, f"file:{path}"])
    return path


class TestAccepted:
    def test_the_sample(self, ffmpeg: Ffmpeg) -> None:
        checked = check_media(SAMPLE, LIMITS, ffmpeg)
        assert checked.container == "mov"
        assert checked.duration_s == pytest.approx(23.8)
        assert (checked.video.codec, checked.video.width, checked.video.height) == ("h264", 640, 360)
        assert checked.video.frame_rate == "25/1"
        assert (checked.audio.codec, checked.audio.channels, checked.audio.layout) == ("aac", 2, "stereo")

    @pytest.mark.parametrize(
        ("muxer", "args"),
        [
            ("matroska", ["-c", "copy"]),
            ("mov", ["-c", "copy"]),
            ("mpegts", ["-c", "copy"]),
            ("webm", ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"]),
            ("avi", ["-c:v", "mpeg4", "-c:a", "libmp3lame"]),
            ("mp4", ["-c", "copy", "-movflags", "frag_keyframe+empty_moov"]),
        ],
    )
    def test_every_usual_container(self, ffmpeg: Ffmpeg, tmp_path: Path, muxer: str, args: list[str]) -> None:
        film = speaking(ffmpeg, tmp_path / "film", muxer, args)
        assert check_media(film, LIMITS, ffmpeg).duration_s == pytest.approx(6.0, abs=0.3)

    def test_a_variable_frame_rate(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        picture = ["-vf", "select='not(mod(n\\,3))+lt(n\\,50)'", "-vsync", "vfr", *H264]
        film = speaking(ffmpeg, tmp_path / "vfr.mp4", "mp4", [*picture, "-c:a", "copy"])
        assert check_media(film, LIMITS, ffmpeg).duration_s == pytest.approx(6.0, abs=0.2)


@pytest.fixture(scope="module")
def canary_film(ffmpeg: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("canary") / "canary.ts"
    ffmpeg.run(["-f", "lavfi", "-i", "testsrc=d=2", "-f", "lavfi", "-i", "sine=d=2", "-f", "mpegts", f"file:{path}"])
    return path


class Canary:
    """A file and a port that nobody may touch."""

    def __init__(self, file: Path) -> None:
        self.touched = False
        self.file = file
        canary = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                canary.touched = True

        self.server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]


@pytest.fixture
def canary(tmp_path: Path, canary_film: Path) -> Iterator[Canary]:
    bird = Canary(Path(shutil.copy(canary_film, tmp_path)))
    thread = threading.Thread(target=bird.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield bird
    bird.server.shutdown()
    thread.join()
    bird.server.server_close()


class TestDisguised:
    @pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts", "film.m3u8", "film.srt"])
    def test_a_playlist_opens_neither_file_nor_port(
        self, ffmpeg: Ffmpeg, tmp_path: Path, canary: Canary, name: str
    ) -> None:
        playlist = tmp_path / name
        playlist.write_text(
            "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n"
            f"#EXTINF:2,\nfile://{canary.file}\n#EXTINF:2,\nhttp://127.0.0.1:{canary.port}/x.ts\n#EXT-X-ENDLIST\n"
        )
        assert refusal(ffmpeg, playlist) == "not_a_video"
        assert not canary.touched

    def test_a_concat_script(self, ffmpeg: Ffmpeg, tmp_path: Path, canary: Canary) -> None:
        script = tmp_path / "film.mp4"
        script.write_text(f"ffconcat version 1.0\nfile {canary.file.name}\n")
        assert refusal(ffmpeg, script) == "not_a_video"

    def test_a_playlist_behind_a_video_s_first_bytes(self, ffmpeg: Ffmpeg, tmp_path: Path, canary: Canary) -> None:
        film = tmp_path / "film.mp4"
        film.write_bytes(b"\0\0\0\x10ftypisom\0\0\0\0" + f"\n#EXTM3U\nhttp://127.0.0.1:{canary.port}/x.ts\n".encode())
        assert refusal(ffmpeg, film) in {"not_a_video", "truncated_file"}
        assert not canary.touched

    def test_ffmpeg_would_have_followed_the_playlist(self, ffmpeg: Ffmpeg, tmp_path: Path, canary: Canary) -> None:
        """So that the tests above can fail: without the lists, the same binary reads the canary."""
        playlist = tmp_path / "film.mp4"
        playlist.write_text(f"#EXTM3U\n#EXTINF:2,\nfile://{canary.file}\n#EXT-X-ENDLIST\n")
        bare = [str(ffmpeg.ffprobe), "-v", "error", "-f", "hls", "-show_streams", str(playlist)]
        told = subprocess.run(bare, capture_output=True, check=False, env=CHILD_ENV).stdout
        assert b"codec_type=video" in told

    @pytest.mark.parametrize(
        "content",
        [
            b"Just some text, long enough to be probed." * 50,
            b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
            b"#!/bin/sh\necho hello\n",
            b"\x89PNG\r\n\x1a\n" + bytes(200),
            b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(200),
            b"GIF89a" + bytes(200),
            b"%PDF-1.7\n",
            b"PK\x03\x04" + bytes(100),
            bytes(5000),
        ],
    )
    def test_what_is_no_film(self, ffmpeg: Ffmpeg, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "film.mp4"
        path.write_bytes(content)
        assert refusal(ffmpeg, path) == "not_a_video"

    def test_no_process_is_started_for_it(self, tmp_path: Path) -> None:
        path = tmp_path / "film.mp4"
        path.write_text("#EXTM3U\n")
        nowhere = Ffmpeg(Path("/nonexistent"), Path("/nonexistent"))
        assert refusal(nowhere, path) == "not_a_video"
        with pytest.raises(UnknownMediaError):
            nowhere.run(["-i", f"file:{path}", "-f", "null", "-"])


@pytest.fixture(scope="module")
def whole_films(ffmpeg: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, tuple[str, ...]], bytes]:
    """Return the whole sample in a container, made once."""
    directory = tmp_path_factory.mktemp("whole")

    @functools.cache
    def made(muxer: str, flags: tuple[str, ...]) -> bytes:
        args = ["-c:v", "mpeg4", "-c:a", "libmp3lame"] if muxer == "avi" else ["-c", "copy"]
        ffmpeg.run(["-i", f"file:{SAMPLE}", *args, *flags, "-f", muxer, f"file:{directory / 'film'}"])
        return (directory / "film").read_bytes()

    return made


class TestIncomplete:
    def test_empty(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        path = tmp_path / "film.mp4"
        path.touch()
        assert refusal(ffmpeg, path) == "empty_file"

    @pytest.mark.parametrize(
        ("muxer", "flags"),
        [("mp4", ("-movflags", "+faststart")), ("mp4", ()), ("matroska", ()), ("avi", ()), ("mov", ())],
    )
    @pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
    def test_cut_off(
        self,
        ffmpeg: Ffmpeg,
        tmp_path: Path,
        whole_films: Callable[[str, tuple[str, ...]], bytes],
        muxer: str,
        flags: tuple[str, ...],
        kept: float,
    ) -> None:
        film = tmp_path / "film"
        whole = whole_films(muxer, flags)
        film.write_bytes(whole[: int(len(whole) * kept)])
        assert refusal(ffmpeg, film) == "truncated_file"


class TestWithoutWhatADubNeeds:
    def test_no_audio(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        film = speaking(ffmpeg, tmp_path / "film", "mp4", ["-an", "-c:v", "copy"])
        assert refusal(ffmpeg, film) == "no_audio"

    @pytest.mark.parametrize("muxer", ["mp4", "wav", "ogg", "flac", "mp3"])
    def test_no_video(self, ffmpeg: Ffmpeg, tmp_path: Path, muxer: str) -> None:
        assert refusal(ffmpeg, speaking(ffmpeg, tmp_path / "film", muxer, ["-vn"])) == "no_video"

    def test_cover_art_is_no_video(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        args = ["-map", "0", "-c:a", "copy", "-c:v", "mjpeg", "-frames:v", "1", "-disposition:v", "attached_pic"]
        assert refusal(ffmpeg, speaking(ffmpeg, tmp_path / "film", "mp4", args)) == "no_video"

    @pytest.mark.parametrize("sound", ["anullsrc=d=6", "sine=f=440:d=6", "anoisesrc=d=6:a=0.1"])
    def test_no_speech(self, ffmpeg: Ffmpeg, tmp_path: Path, sound: str) -> None:
        film = make_film(ffmpeg, tmp_path / "film.mp4", "mp4", sound=sound)
        assert refusal(ffmpeg, film) == "no_speech"

    def test_audio_that_no_decoder_understands(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        film = speaking(ffmpeg, tmp_path / "film", "mov", ["-c:v", "copy", "-c:a", "pcm_s16le"])
        film.write_bytes(film.read_bytes().replace(b"sowt", b"xxxx"))
        assert refusal(ffmpeg, film) == "undecodable_audio"


class TestLimits:
    def test_too_long(self, ffmpeg: Ffmpeg) -> None:
        assert refusal(ffmpeg, SAMPLE, max_minutes=0.1) == "too_long"

    def test_too_short(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        film = make_film(ffmpeg, tmp_path / "film.mp4", "mp4", seconds=0.4)
        assert refusal(ffmpeg, film) == "too_short"

    def test_too_many_frames(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        film = make_film(ffmpeg, tmp_path / "film.mp4", "mp4", seconds=1.0, fps="300")
        assert refusal(ffmpeg, film) == "frame_rate_too_high"

    def test_too_many_pixels(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        video = ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]
        film = make_film(ffmpeg, tmp_path / "film.mkv", "matroska", seconds=1.0, fps="2", size="8192x4352", video=video)
        assert refusal(ffmpeg, film) == "picture_too_large"

    def test_too_many_tracks(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        film = speaking(ffmpeg, tmp_path / "film", "matroska", ["-map", "0:v", *["-map", "0:a"] * 32, "-c", "copy"])
        assert refusal(ffmpeg, film) == "too_many_streams"


class TestCommand:
    def run(self, path: Path) -> tuple[int, dict[str, dict[str, str]]]:
        command = [sys.executable, "-m", "shared.media_check", str(path), "--max-minutes", "5"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout)

    def test_accepted(self) -> None:
        code, verdict = self.run(SAMPLE)
        assert code == 0
        assert verdict["media"]["container"] == "mov"

    def test_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "empty.mp4"
        path.touch()
        code, verdict = self.run(path)
        assert code == 2
        assert verdict["refused"]["code"] == "empty_file"
