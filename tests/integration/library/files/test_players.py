"""What plays: ffmpeg and ffprobe with seeking, a stream of segments, curl that resumes."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from shared.ffmpeg_binaries import find_binary
from tests import local_http
from tests.integration.library.files.conftest import Origin

TIMEOUT_S = 60
FFMPEG = Path(shutil.which("ffmpeg") or find_binary("ffmpeg", os.environ))
FFPROBE = Path(shutil.which("ffprobe") or find_binary("ffprobe", os.environ))
"""A system's own is preferred: the bundled ones crash on any HLS playlist, a local one too."""


def signed_in(address: str) -> list[str]:
    """Return the options before an address with which ffmpeg and ffprobe show the key."""
    return ["-headers", f"X-Api-Key: {local_http.local_key()}\r\n", "-i", address]


def run(argv: Sequence[str | Path]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="package")
def film(origin: Origin) -> Path:
    """Ten seconds whose index is at the end, so that a player has to seek for it; and the same as segments."""
    directory = origin.output / "played"
    directory.mkdir(exist_ok=True)
    film = directory / "film.mp4"
    if not film.exists():
        picture = ["-f", "lavfi", "-i", "testsrc2=duration=10:size=160x120:rate=10"]
        sound = ["-f", "lavfi", "-i", "sine=frequency=440:duration=10"]
        codecs = ["-c:v", "mpeg4", "-g", "10", "-c:a", "aac"]
        quiet = [FFMPEG, "-v", "error", "-y"]
        run([*quiet, *picture, *sound, *codecs, film])
        run([*quiet, "-i", film, "-c:a", "copy", "-vn", "-f", "hls", "-hls_time", "2", directory / "index.m3u8"])
    return film


def duration(address: str) -> float:
    found = run([FFPROBE, "-v", "error", "-show_entries", "format=duration", "-of", "json", *signed_in(address)])
    return float(json.loads(found)["format"]["duration"])


def test_ffprobe_finds_the_index_at_the_end(origin: Origin, film: Path) -> None:
    assert duration(f"{origin.url}/files/played/film.mp4") == pytest.approx(10, abs=0.2)


def test_ffmpeg_seeks(origin: Origin, film: Path) -> None:
    """The picture at eight seconds is the same as in the file itself."""
    digests = {
        run([FFMPEG, "-v", "error", "-ss", "8", *source, "-frames:v", "1", "-f", "md5", "-"])
        for source in (["-i", str(film)], signed_in(f"{origin.url}/files/played/film.mp4"))
    }
    assert len(digests) == 1


def test_a_stream_of_segments_plays(origin: Origin, film: Path) -> None:
    decode = [FFMPEG, "-v", "error", "-i", film.with_name("index.m3u8"), "-f", "md5", "-"]
    if subprocess.run(decode, capture_output=True, timeout=TIMEOUT_S, check=False).returncode < 0:
        pytest.skip(f"{FFMPEG} crashes on any playlist")
    sound = run(decode)
    assert run([*decode[:3], *signed_in(f"{origin.url}/files/played/index.m3u8"), *decode[5:]]) == sound


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on PATH (Debian: apt-get install curl)")
def test_curl_takes_a_range_and_resumes(origin: Origin, film: Path, tmp_path: Path) -> None:
    url, part = f"{origin.url}/files/played/film.mp4", tmp_path / "part.mp4"
    curl = ["curl", "-sSf", "-H", f"X-Api-Key: {local_http.local_key()}"]
    run([*curl, "-r", "100-199", "-o", part, url])
    assert part.read_bytes() == film.read_bytes()[100:200]
    part.write_bytes(film.read_bytes()[:5000])
    run([*curl, "-C", "-", "-o", part, url])
    assert part.read_bytes() == film.read_bytes()
