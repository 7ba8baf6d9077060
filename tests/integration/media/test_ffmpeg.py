"""How ffmpeg is run: confined, timed, without names, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from shared.ffmpeg import Ffmpeg, FfmpegError, Limits
from shared.ffmpeg_binaries import FfmpegMissingError
from tests.integration.media.films import make_film

ENDLESS = ["-re", "-f", "lavfi", "-i", "testsrc", "-f", "null", "-"]
STUBBORN = """#!/bin/sh
trap '' TERM
sleep 60 &
echo $! > "$(dirname "$0")/grandchild"
wait
wait
"""
TELLING = """#!/bin/sh
if [ "$1" = "-version" ]; then echo "ffmpeg version 0"; exit; fi
printf '%s\\n' "$@"
env
ulimit -a
"""


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_a_time_out_ends_the_whole_process_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.ffmpeg.KILL_GRACE_S", 0.3)
    stubborn = script(tmp_path / "ffmpeg", STUBBORN)
    with pytest.raises(FfmpegError) as caught:
        Ffmpeg(stubborn, stubborn, wanted_sandbox="limits").run(ENDLESS, timeout_s=0.5)
    assert caught.value.timed_out
    assert caught.value.exit_code == -signal.SIGKILL
    assert gone_within(int((tmp_path / "grandchild").read_text()), 5)


def test_a_real_ffmpeg_is_timed_out_too(ffmpeg: Ffmpeg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.ffmpeg.KILL_GRACE_S", 1.0)  # one that waits for its clock does not hear SIGTERM
    started = time.monotonic()
    with pytest.raises(FfmpegError) as caught:
        ffmpeg.run(ENDLESS, timeout_s=0.5)
    assert caught.value.timed_out
    assert time.monotonic() - started < 8


def test_ffmpeg_dies_with_the_process_that_started_it(ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    wrapper = script(tmp_path / "ffmpeg", f'#!/bin/sh\necho $$ > {pid_file}\nexec {ffmpeg.ffmpeg} "$@"\n')
    program = (
        "from pathlib import Path; from shared.ffmpeg import Ffmpeg; "
        f"Ffmpeg(Path({str(wrapper)!r}), Path('/nonexistent'), wanted_sandbox='limits').run({ENDLESS!r})"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as parent:
        while not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.05)
        pid = int(pid_file.read_text())
        assert alive(pid)
        parent.kill()
    assert gone_within(pid, 5)


def test_leaving_a_pipe_early_stops_ffmpeg(ffmpeg: Ffmpeg) -> None:
    args = ["-f", "lavfi", "-i", "sine", "-f", "f32le", "pipe:1"]
    started = time.monotonic()
    with ffmpeg.reading(args) as pipe:
        assert len(pipe.read(4096)) == 4096
    assert time.monotonic() - started < 8


def test_the_child_sees_neither_names_nor_our_environment(
    ffmpeg: Ffmpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = make_film(ffmpeg, tmp_path / "A private name.mp4", "mp4", seconds=1.0)
    monkeypatch.setenv("API_TOKEN", "very-secret")
    telling = script(tmp_path / "ffmpeg", TELLING)
    target = tmp_path / "Another private name.mkv"
    tools = Ffmpeg(telling, telling, wanted_sandbox="limits")  # a script
    told = tools.run(["-i", f"file:{film}", "-f", "matroska", f"file:{target}"]).stdout.decode()
    assert "private" not in told
    assert "very-secret" not in told
    assert told.count("file:/proc/self/fd/") == 2
    assert "-format_whitelist\nmov\n" in told
    assert "-protocol_whitelist\nfile,pipe\n" in told
    assert str(Limits().address_space >> 10) in told


def test_a_file_limit_is_an_error_not_a_full_disk(ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    small = replace(ffmpeg, limits=replace(ffmpeg.limits, file_bytes=100_000))
    with pytest.raises(FfmpegError):
        small.run(["-f", "lavfi", "-i", "sine=d=20", "-f", "wav", f"file:{tmp_path / 'x.wav'}"])
    assert (tmp_path / "x.wav").stat().st_size <= 100_000


def test_an_error_carries_the_end_of_the_log_and_no_name(ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    broken = tmp_path / "private.mp4"
    broken.write_bytes(b"\0\0\0\x20ftypisom" + bytes(500))
    with pytest.raises(FfmpegError) as caught:
        ffmpeg.run(["-i", f"file:{broken}", "-f", "null", "-"])
    assert caught.value.exit_code != 0
    assert caught.value.stderr
    assert "private" not in str(caught.value) + "".join(caught.value.stderr)


def test_progress_tells_the_seconds_made(ffmpeg: Ffmpeg) -> None:
    told: list[float] = []
    ffmpeg.run(["-f", "lavfi", "-i", "sine=d=3", "-f", "null", "-"], progress=told.append)
    assert told[-1] == pytest.approx(3.0, abs=0.1)
    assert told == sorted(told)


def test_a_writer_learns_that_ffmpeg_gave_up(ffmpeg: Ffmpeg) -> None:
    def write_for_nobody() -> None:
        with ffmpeg.writing(["-f", "no_such_format", "-i", "pipe:0", "-f", "null", "-"]) as (pipe, _log):
            for _ in range(100):
                pipe.write(bytes(1 << 16))

    with pytest.raises(FfmpegError):
        write_for_nobody()


def test_runs_leave_their_log_where_it_is_wanted(ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    logged = replace(ffmpeg, log_dir=tmp_path / "logs")
    logged.run(["-f", "lavfi", "-i", "sine=d=1", "-f", "null", "-"])
    (log,) = (tmp_path / "logs").iterdir()
    assert "-i sine=d=1" in log.read_text()


class TestFinding:
    def test_a_named_binary_wins(self, tmp_path: Path) -> None:
        named = script(tmp_path / "my-ffmpeg", "#!/bin/sh\n")
        found = Ffmpeg.find({"FFMPEG_BIN": str(named), "FFPROBE_BIN": str(named)})
        assert found.ffmpeg == named

    def test_a_named_binary_that_is_not_there_is_an_error_that_names_the_variable(self) -> None:
        with pytest.raises(FfmpegMissingError, match="FFMPEG_BIN"):
            Ffmpeg.find({"FFMPEG_BIN": "/nonexistent/ffmpeg"})

    def test_the_pinned_package_is_made_executable(self) -> None:
        assert os.access(Ffmpeg.find({}).ffmpeg, os.X_OK)
