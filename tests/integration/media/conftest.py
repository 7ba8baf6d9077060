"""The ffmpegs that every media test runs on: the pinned one, and the system's where there is one."""

import os
import shutil

import pytest

from shared.ffmpeg import Ffmpeg
from shared.ffmpeg_binaries import version_text


@pytest.fixture(scope="session", params=["found", "system"])
def ffmpeg(request: pytest.FixtureRequest) -> Ffmpeg:
    """FFMPEG_BIN or the pinned package's; then the first on PATH, if it is another one (fault V15 was an older one)."""
    found = Ffmpeg.find()
    if request.param == "found":
        return found
    on_path = shutil.which("ffmpeg", path=os.environ.get("PATH"))
    if on_path is None:
        pytest.skip("no ffmpeg on PATH besides the pinned one")
    system = Ffmpeg.find({**os.environ, "FFMPEG_BIN": on_path, "FFPROBE_BIN": shutil.which("ffprobe") or ""})
    if version_text(system.ffmpeg) == version_text(found.ffmpeg):
        pytest.skip("the ffmpeg on PATH is the one already tested")
    return system
