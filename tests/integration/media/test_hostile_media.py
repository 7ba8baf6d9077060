"""The media corpus: fuzzed, cut, disguised, bombs, hostile names. Each is refused in seconds, or harmless; nothing
that it names is ever touched, and what reads it stays under its cap.

Everything is made here, from seeds. The files go through the policy in three processes beside each other, each in one
variant of the sandbox; a sample goes through ingest's own check.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from services.ingest import media
from shared.ffmpeg import Ffmpeg
from shared.ffmpeg_binaries import CHILD_ENV
from shared.media_check import check_media
from shared.media_policy import MediaLimits, MediaRefused
from shared.media_probe import PROBE_ADDRESS_SPACE
from shared.problems import Problem
from shared.sandbox.choice import fault_of
from shared.sandbox.launch import Variant
from tests.integration.media import hostile
from tests.integration.media.canary import canary_at
from tests.integration.media.films import make_film

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "samples" / "sense-and-sensibility.mp4"
LIMITS = MediaLimits(120)
SEEDS = 200
KINDS = ("mp4", "mkv", "mp3", "srt", "mp4", "mkv", "ts", "avi")
"""Which base a seed mutates, in turn."""
SECONDS_EACH = 15.0
CODES = {
    "not_a_video", "truncated_file", "no_video", "no_audio", "no_speech", "too_short", "too_long", "picture_too_large",
    "too_many_streams", "too_many_channels", "frame_rate_too_high", "undecodable_audio", "empty_file",
    "bit_rate_implausible", "sample_rate_too_high",
}  # fmt: skip
"""Every code of a refusal; all of them are answered with 422."""


@pytest.fixture(scope="module")
def tools() -> Ffmpeg:
    return Ffmpeg.find()


@pytest.fixture(scope="module")
def base(tools: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Three seconds of the sample in every container, small enough that a flipped bit matters."""
    directory = tmp_path_factory.mktemp("base")
    copied = ["-c", "copy"]
    dressed = {
        "mp4": ("mp4", copied), "mov": ("mov", copied), "mkv": ("matroska", copied), "ts": ("mpegts", copied),
        "avi": ("avi", ["-c:v", "mpeg4", "-c:a", "libmp3lame"]), "mp3": ("mp3", ["-vn", "-c:a", "libmp3lame"]),
    }  # fmt: skip
    for name, (muxer, args) in dressed.items():
        tools.run(["-i", f"file:{SAMPLE}", "-t", "3", *args, "-f", muxer, f"file:{directory / name}"])
    line = b"1\n00:00:01,000 --> 00:00:02,000\nHe was not an ill disposed young man.\n\n"
    return {name: (directory / name).read_bytes() for name in dressed} | {"srt": line * 200}


@dataclass(frozen=True)
class Outcome:
    """What became of each file, and the most memory that a child took, in bytes, where that was seen."""

    verdicts: dict[str, str]
    seconds: dict[str, float]
    peaks: dict[Variant, int]


def working_variants(tools: Ffmpeg) -> list[Variant]:
    variants: tuple[Variant, ...] = ("bwrap", "landlock", "limits")
    return [each for each in variants if fault_of(each, (tools.ffprobe, tools.ffmpeg)) is None]


def through_the_check(tools: Ffmpeg, files: list[Path]) -> Outcome:
    """Deal the files out to one process for each variant that works here."""
    variants = working_variants(tools)
    if left_out := {"bwrap", "landlock"} - set(variants):
        print(f"not tried here: {', '.join(sorted(left_out))}")  # noqa: T201 -- the reason of a gap

    def run(place: int) -> tuple[list[Path], list[str]]:
        hand = files[place :: len(variants)]
        command = [sys.executable, "-m", "tests.integration.media.corpus", variants[place], *map(str, hand)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stderr
        return hand, done.stdout.splitlines()

    verdicts: dict[str, str] = {}
    seconds: dict[str, float] = {}
    peaks: dict[Variant, int] = {}
    with ThreadPoolExecutor(len(variants)) as pool:
        for place, (hand, lines) in enumerate(pool.map(run, range(len(variants)))):
            *told, peak = lines
            for path, line in zip(hand, told, strict=True):
                verdicts[path.name], _, took = line.partition("\t")
                seconds[path.name] = float(took)
            peaks[variants[place]] = int(peak) << 10
    return Outcome(verdicts, seconds, peaks)


def assert_harmless(outcome: Outcome) -> None:
    wrong = {name: told for name, told in outcome.verdicts.items() if told not in CODES | {"accepted"}}
    assert wrong == {}
    slow = {name: took for name, took in outcome.seconds.items() if took > SECONDS_EACH}
    assert slow == {}
    assert all(peak < PROBE_ADDRESS_SPACE for peak in outcome.peaks.values()), outcome.peaks


def test_two_hundred_fuzzed_files_are_refused_or_harmless(
    tools: Ffmpeg, base: dict[str, bytes], tmp_path: Path
) -> None:
    files = []
    for seed in range(SEEDS):
        kind = KINDS[seed % len(KINDS)]
        files.append(tmp_path / f"seed-{seed:03}.{kind}")
        files[-1].write_bytes(hostile.mutated(base[kind], seed))
    outcome = through_the_check(tools, files)
    assert len(outcome.verdicts) == SEEDS
    assert_harmless(outcome)
    kinds = {told: sum(each == told for each in outcome.verdicts.values()) for told in outcome.verdicts.values()}
    assert len(kinds) >= 4, f"the seeds reach too little of the policy: {kinds}"
    assert {told for name, told in outcome.verdicts.items() if name.endswith(".srt")} == {"not_a_video"}


def test_a_film_cut_anywhere_is_refused_and_never_breaks_the_check(
    tools: Ffmpeg, base: dict[str, bytes], tmp_path: Path
) -> None:
    files = []
    for kind in ("mp4", "mkv", "avi"):
        whole = base[kind]
        for length in (0, 1, 7, 8, 16, 100, 1000, 4096, *(len(whole) * part // 8 for part in (1, 3, 5, 7))):
            files.append(tmp_path / f"{length:07}.{kind}")
            files[-1].write_bytes(whole[:length])
    outcome = through_the_check(tools, files)
    assert_harmless(outcome)
    assert [name for name, told in outcome.verdicts.items() if told == "accepted"] == []
    assert {told for name, told in outcome.verdicts.items() if name.startswith("0000000")} == {"empty_file"}


@pytest.fixture(scope="module")
def bombs(tools: Ffmpeg, base: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    directory = tmp_path_factory.mktemp("bombs")
    picture = make_film(
        tools, directory / "picture", "matroska", seconds=1.0, fps="5", size="512x256",
        video=["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"],
    ).read_bytes()  # fmt: skip
    made = {
        "16384x16384": hostile.larger_picture(picture, (512, 256), (16384, 16384)),
        "65535x65535": hostile.larger_picture(picture, (512, 256), (65535, 65535)),
        "mp4 of 1e9 s": hostile.claiming_seconds(base["mp4"], 10**9),
        "mkv of 1e9 s": hostile.claiming_milliseconds(base["mkv"], 1e12),
        "mkv of infinite length": hostile.claiming_milliseconds(base["mkv"], float("inf")),
        "mkv of no number": hostile.claiming_milliseconds(base["mkv"], float("nan")),
        "1000 streams": hostile.with_streams(base["mp4"], 1000),
        "40 streams": hostile.with_streams(base["mp4"], 40),
        "4e9 samples": hostile.claiming_samples(base["mp4"], 0xFFFFFFF0),
        "nested boxes": hostile.nested(20_000),
        "index of 300 MiB": hostile.compressed_index(300 << 20, 300 << 20),
        "index of 3000 MiB": hostile.compressed_index(1 << 20, 3000 << 20),
    }
    bases = {"sparse": "setts=ts=TS*2000", "too sparse": "setts=ts=TS*100000"}
    bases["two thousand million ticks"] = "h264_metadata=tick_rate=2000000000/1"
    (directory / "base").write_bytes(base["mp4"])
    for name, rewritten in bases.items():
        args = ["-i", f"file:{directory / 'base'}", "-c", "copy", "-bsf:v", rewritten]
        if name == "sparse":  # not too long, but one picture in more than a minute
            args += ["-bsf:a", rewritten]
        tools.run([*args, "-f", "matroska", f"file:{directory / name}"])
        made[name] = (directory / name).read_bytes()
    make_film(tools, directory / "1000 pictures a second", "mp4", seconds=1.0, fps="1000", size="64x48")
    made["1000 pictures a second"] = (directory / "1000 pictures a second").read_bytes()
    for name, data in made.items():
        (directory / name).write_bytes(data)
    return through_the_check(tools, [directory / name for name in made])


class TestBombs:
    """Small files that claim to be huge."""

    def test_each_is_refused_in_seconds_and_under_the_memory_cap(self, bombs: Outcome) -> None:
        assert_harmless(bombs)

    @pytest.mark.parametrize(
        ("bomb", "codes"),
        [
            ("16384x16384", {"picture_too_large", "not_a_video"}),
            ("65535x65535", {"picture_too_large", "not_a_video"}),
            ("mp4 of 1e9 s", {"too_long", "truncated_file"}),
            ("mkv of 1e9 s", {"too_long"}),
            ("1000 streams", {"not_a_video", "too_many_streams"}),
            ("40 streams", {"not_a_video", "too_many_streams"}),
            ("4e9 samples", {"not_a_video"}),
            ("nested boxes", {"not_a_video"}),
            ("index of 300 MiB", {"no_video", "not_a_video"}),
            ("index of 3000 MiB", {"not_a_video"}),
            ("sparse", {"bit_rate_implausible"}),
            ("too sparse", {"too_long"}),
            ("1000 pictures a second", {"frame_rate_too_high"}),
        ],
    )
    def test_which_refusal(self, bombs: Outcome, bomb: str, codes: set[str]) -> None:
        assert bombs.verdicts[bomb] in codes

    @pytest.mark.parametrize("lie", ["mkv of infinite length", "mkv of no number", "two thousand million ticks"])
    def test_a_lie_that_nothing_depends_on_is_harmless(self, bombs: Outcome, lie: str) -> None:
        assert bombs.verdicts[lie] == "accepted"


def disguised(base: dict[str, bytes], path: str, port: int) -> dict[str, bytes]:
    """Files that name another file and a host."""
    url = f"http://127.0.0.1:{port}/x.ts"
    first_bytes = b"\0\0\0\x10ftypisom\0\0\0\0"
    playlist = f"#EXTM3U\n#EXTINF:2,\nfile://{path}\n#EXTINF:2,\n{path}\n#EXTINF:2,\n{url}\n#EXT-X-ENDLIST\n".encode()
    svg = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    svg += f'<image xlink:href="file://{path}"/><image xlink:href="{url}"/></svg>'
    dash = f'<?xml version="1.0"?><MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>'
    script = f"ffconcat version 1.0\nfile '{path}'\nfile '{url}'\n".encode()
    return {
        "hls.mp4": playlist,
        "hls behind a box.mp4": first_bytes + playlist,
        "hls in a tail.mkv": base["mkv"][:2000] + playlist,
        "concat.mp4": script,
        "concat behind a box.mp4": first_bytes + script,
        "svg.mp4": svg.encode(),
        "dash.mp4": dash.encode(),
        "sdp.mp4": f"v=0\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n".encode(),
        "url.mp4": f"[InternetShortcut]\nURL={url}\n".encode(),
        "dref.mov": hostile.referring_to(base["mov"], path),
        "dref of a host.mov": hostile.referring_to(base["mov"], url),
    }


class TestDisguises:
    def test_none_opens_the_canary_or_connects_to_it(
        self, tools: Ffmpeg, base: dict[str, bytes], tmp_path: Path
    ) -> None:
        (tmp_path / "canary.mov").write_bytes(base["mov"])
        with canary_at(tmp_path / "canary.mov") as canary:
            files = []
            for name, data in disguised(base, str(canary.file), canary.port).items():
                files.append(tmp_path / name)
                files[-1].write_bytes(data)
            outcome = through_the_check(tools, files)
            assert not canary.was_opened
            assert not canary.was_connected
        assert_harmless(outcome)
        assert [name for name, told in outcome.verdicts.items() if told == "accepted"] == []

    def test_the_same_ffmpeg_follows_them_when_it_is_not_held(
        self, tools: Ffmpeg, base: dict[str, bytes], tmp_path: Path
    ) -> None:
        """So that the test above can fail."""
        (tmp_path / "canary.mov").write_bytes(base["mov"])
        with canary_at(tmp_path / "canary.mov") as canary:
            made = disguised(base, str(canary.file), canary.port)
            for name, options, seen in (
                ("dref.mov", ["-enable_drefs", "1", "-use_absolute_path", "1"], "was_opened"),
                ("concat.mp4", ["-f", "concat", "-safe", "0"], "was_opened"),
                ("hls.mp4", ["-f", "hls", "-allowed_extensions", "ALL"], "was_opened"),
            ):
                (tmp_path / name).write_bytes(made[name])
                command = [str(tools.ffprobe), "-v", "error", *options, str(tmp_path / name)]
                subprocess.run(command, capture_output=True, check=False, env=CHILD_ENV, timeout=30)
                assert getattr(canary, seen), name

    def test_the_walls_hold_where_every_option_of_ffmpeg_is_wrong(
        self, tools: Ffmpeg, base: dict[str, bytes], tmp_path: Path
    ) -> None:
        """Were the allow-lists lost, the sandbox alone would still keep the canary."""
        from shared.sandbox.choice import TRIAL_LIMITS
        from shared.sandbox.launch import launching

        walled = [each for each in working_variants(tools) if each != "limits"]
        if not walled:
            pytest.skip("neither bubblewrap nor Landlock works here")
        (tmp_path / "canary.mov").write_bytes(base["mov"])
        with canary_at(tmp_path / "canary.mov") as canary:
            (tmp_path / "dref.mov").write_bytes(hostile.referring_to(base["mov"], str(canary.file)))
            for variant in walled:
                opened = os.open(tmp_path / "dref.mov", os.O_RDONLY)
                try:
                    careless = ["-enable_drefs", "1", "-use_absolute_path", "1", f"/proc/self/fd/{opened}"]
                    with launching(variant, tools.ffprobe, careless, (opened,), TRIAL_LIMITS) as start:
                        subprocess.run(start.argv, pass_fds=start.fds, capture_output=True, check=False, env=CHILD_ENV)
                    host = ["-rw_timeout", "2000000", f"http://127.0.0.1:{canary.port}/x.ts"]
                    with launching(variant, tools.ffprobe, host, (), TRIAL_LIMITS) as start:
                        done = subprocess.run(
                            start.argv, pass_fds=start.fds, capture_output=True, check=False, env=CHILD_ENV
                        )
                    assert done.returncode != 0
                finally:
                    os.close(opened)
                assert not canary.was_opened
                assert not canary.was_connected


NAMES = (
    "-i", "--help", "-f lavfi -i testsrc", "a\nb.mp4", "..mp4", "film\u202e4pm.exe", "x" * 255, "%d.mp4", "concat:a|b",
    "$(touch pwned).mp4", "'; rm -rf ~ #.mp4", "film.m3u8", "pipe:0", "http:", "\udcff\udcfe.mp4", " ", "film.mp4\\",
)  # fmt: skip


class TestNames:
    @pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
    def test_a_name_is_only_a_name(self, tools: Ffmpeg, base: dict[str, bytes], tmp_path: Path, name: str) -> None:
        film = tmp_path / name
        film.write_bytes(base["mp4"])
        assert check_media(film, LIMITS, tools).container == "mov"
        assert [each.name for each in tmp_path.iterdir()] == [name]

    def test_a_nul_or_a_longer_name_is_no_file_at_all(self, tools: Ffmpeg, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="null"):
            check_media(tmp_path / "a\0b.mp4", LIMITS, tools)
        with pytest.raises(OSError, match="too long"):
            check_media(tmp_path / ("x" * 256), LIMITS, tools)

    def test_what_is_no_file_is_no_video(self, tools: Ffmpeg, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "film.mp4")
        for path in (tmp_path / "film.mp4", tmp_path, Path("/dev/zero")):
            with pytest.raises(MediaRefused) as caught:
                check_media(path, LIMITS, tools)
            assert caught.value.code == "not_a_video"


class TestThroughIngest:
    """A sample through ingest's own check: a child process, and a problem over HTTP."""

    async def refusal(self, path: Path, limits: MediaLimits = LIMITS) -> tuple[int, str]:
        with pytest.raises(Problem) as caught:
            await media.check(nullcontext(path), limits, 60)
        return caught.value.status, caught.value.code

    async def test_hostile_files_are_refused_with_a_code(self, base: dict[str, bytes], tmp_path: Path) -> None:
        sample: dict[str, tuple[bytes, set[str]]] = {
            "empty.mp4": (b"", {"empty_file"}),
            "1000 streams.mp4": (hostile.with_streams(base["mp4"], 1000), {"not_a_video"}),
            "-i\n..mp4": (base["mp4"][:5000], {"truncated_file"}),
        }
        for name, (data, codes) in sample.items():
            (tmp_path / name).write_bytes(data)
            status, code = await self.refusal(tmp_path / name)
            assert status == 422
            assert code in codes
        os.mkfifo(tmp_path / "fifo.mp4")
        assert await self.refusal(tmp_path / "fifo.mp4") == (422, "not_a_video")

    async def test_the_settings_of_the_predecessor_bound_the_picture(
        self, base: dict[str, bytes], tmp_path: Path
    ) -> None:
        (tmp_path / "film.mp4").write_bytes(base["mp4"])
        for limit in ({"max_width": 639}, {"max_height": 359}, {"max_pixels": 640 * 360 - 1}):
            assert await self.refusal(tmp_path / "film.mp4", replace(LIMITS, **limit)) == (422, "picture_too_large")
        large_enough = MediaLimits(120, 640, 360, 640 * 360)
        assert (await media.check(nullcontext(tmp_path / "film.mp4"), large_enough, 60)).video.width == 640

    async def test_no_name_reaches_an_argument_list(
        self, base: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        film = tmp_path / "A private name.mp4"
        film.write_bytes(base["mp4"])
        recorder = tmp_path / "python"
        recorder.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/told\nexec {sys.executable} "$@"\n')
        recorder.chmod(0o755)
        monkeypatch.setattr(media.sys, "executable", str(recorder))
        assert (await media.check(nullcontext(film), LIMITS, 60)).container == "mov"
        told = (tmp_path / "told").read_text()
        assert "shared.media_check" in told
        assert "private" not in told
