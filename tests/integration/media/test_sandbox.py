"""The walls themselves: a program in place of ffmpeg tries to get out, in every variant that works here."""

import contextlib
import dataclasses
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from shared.ffmpeg import Ffmpeg, FfmpegError
from shared.ffmpeg_binaries import CHILD_ENV
from shared.sandbox import launch
from shared.sandbox.choice import TRIAL_LIMITS, chosen, fault_of, wanted
from shared.sandbox.errors import SandboxUnavailableError
from shared.sandbox.launch import ResourceLimits, Variant, launching
from shared.sandbox.program import Needs
from tests.integration.media.canary import Canary, canary_at
from tests.integration.media.films import make_film

PYTHON = Path(sys.executable).resolve()
INMATE = (Path(__file__).parent / "inmate.py").read_text()
NEEDED = {"read its input", "write its output", "make a thread", "draw random numbers"}
ENDLESS = ["-re", "-f", "lavfi", "-i", "testsrc", "-f", "null", "-"]
OPEN_WITHOUT_WALLS = {
    "read the canary", "read a file of the system", "list the canary's directory", "write beside the canary",
    "write to /tmp", "change the canary's mode", "change the canary's times", "write its input", "read a shell",
    "connect by TCP", "send by UDP", "connect to a local socket", "connect to an abstract socket", "fork", "spawn",
    "signal its parent", "limit its parent", "make an anonymous file", "read its parent's environment",
}  # fmt: skip
"""What anybody may do who is confined by limits alone, root or not: so that the refusals below mean something."""


@functools.cache
def fault(variant: Variant) -> str | None:
    found = Ffmpeg.find()
    return fault_of(variant, (found.ffprobe, found.ffmpeg))


def skip_unless_it_works(variant: Variant) -> None:
    if reason := fault(variant):
        pytest.skip(f"{variant} does not work here: {reason}")


@pytest.fixture(params=["bwrap", "landlock"])
def walled(request: pytest.FixtureRequest) -> Variant:
    variant: Variant = request.param
    skip_unless_it_works(variant)
    return variant


@pytest.fixture(params=["bwrap", "landlock", "limits"])
def variant(request: pytest.FixtureRequest) -> Variant:
    variant: Variant = request.param
    skip_unless_it_works(variant)
    return variant


@pytest.fixture(autouse=True)
def python_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The helper is Python, which needs its library besides what its header names."""
    real = launch.needs

    def with_library(program: Path) -> Needs:
        needed = real(program)
        if program != PYTHON:
            return needed
        return dataclasses.replace(needed, directories=(*needed.directories, Path(sysconfig.get_path("stdlib"))))

    monkeypatch.setattr(launch, "needs", with_library)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that any user may enter, unlike pytest's, so that only the walls refuse."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.fixture
def canary(directory: Path) -> Iterator[Canary]:
    (directory / "canary").write_text("a secret")
    with canary_at(directory / "canary") as bird:
        yield bird


def run_python(
    variant: Variant, code: str, *args: str, fds: Sequence[int] = (), limits: ResourceLimits = TRIAL_LIMITS
) -> subprocess.CompletedProcess[bytes]:
    with launching(variant, PYTHON, ["-I", "-S", "-c", code, *args], fds, limits) as start:
        return subprocess.run(start.argv, pass_fds=start.fds, capture_output=True, check=False, env=CHILD_ENV)


def attempts(variant: Variant, canary: Canary, *, writes: bool = True) -> dict[str, str]:
    """Let the inmate try everything; its input, and its output if it writes one, are open, its socket listens."""
    directory = canary.file.parent
    (directory / "input").write_text("media")
    name = str(directory / "socket")
    with contextlib.ExitStack() as stack:
        for address in (name, "\0" + name):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen()
        source = os.open(directory / "input", os.O_RDONLY)
        stack.callback(os.close, source)
        (directory / "output").touch()
        target = os.open(directory / "output", os.O_RDWR if writes else os.O_RDONLY)
        stack.callback(os.close, target)
        values = (str(canary.file), str(canary.port), str(os.getpid()), name, str(source), str(target))
        done = run_python(variant, INMATE, *values, fds=(source, target))
    assert done.returncode == 0, done.stderr.decode()
    Path("/tmp/inmate").unlink(missing_ok=True)
    told: dict[str, str] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("writes", [True, False])
def test_nothing_but_its_own_work_is_possible_behind_walls(walled: Variant, canary: Canary, *, writes: bool) -> None:
    told = attempts(walled, canary, writes=writes)
    environment = told.pop("environment")
    possible = NEEDED if writes else NEEDED - {"write its output"}
    if writes and walled == "bwrap":  # the one thing that name spaces cannot refuse (docs/sandbox.md): its own input
        possible = possible | {"write its input"}
    assert {name for name, answer in told.items() if answer == "done"} == possible, told
    assert set(told.values()) <= {"done", "EPERM", "EACCES", "ENOENT", "ENOSYS", "EROFS"}
    assert set(environment.split(",")) - {"PWD"} == set(CHILD_ENV)
    assert not canary.touched
    assert canary.file.read_text() == "a secret"
    assert (canary.file.parent / "output").read_text() == ("made" if writes else "")


def test_limits_alone_refuse_none_of_it(canary: Canary) -> None:
    """The same attempts, so that the test above can fail."""
    told = attempts("limits", canary)
    assert {name for name in OPEN_WITHOUT_WALLS if told[name] != "done"} == set(), told
    assert canary.was_opened
    assert canary.was_connected


def test_memory_is_capped(variant: Variant) -> None:
    limits = replace(TRIAL_LIMITS, address_space=512 << 20)
    assert run_python(variant, "bytearray(64 << 20)", limits=limits).returncode == 0
    done = run_python(variant, "bytearray(1 << 30)", limits=limits)
    assert done.returncode != 0
    assert b"MemoryError" in done.stderr


def test_processor_time_is_capped(variant: Variant) -> None:
    started = time.monotonic()
    done = run_python(variant, "while True: pass", limits=replace(TRIAL_LIMITS, cpu_s=1))
    assert done.returncode in {-signal.SIGKILL, -signal.SIGXCPU, 128 + signal.SIGKILL, 128 + signal.SIGXCPU}
    assert time.monotonic() - started < 20


def test_files_and_their_number_are_capped_and_no_core_is_left(variant: Variant, directory: Path) -> None:
    target = os.open(directory / "output", os.O_RDWR | os.O_CREAT)
    try:
        code = "import os, resource; print(resource.getrlimit(resource.RLIMIT_CORE)[1]); "
        code += f"os.pwrite({target}, b'x', 1 << 21)"
        done = run_python(variant, code, fds=(target,))
    finally:
        os.close(target)
    assert done.stdout == b"0\n"
    assert (directory / "output").stat().st_size <= TRIAL_LIMITS.file_bytes
    code = "import os\nfor _ in range(200): os.dup(0)"
    assert b"Too many open files" in run_python(variant, code).stderr


class TestFfmpegItself:
    @pytest.fixture
    def tools(self, ffmpeg: Ffmpeg, variant: Variant) -> Ffmpeg:
        return replace(ffmpeg, wanted_sandbox=variant)

    def test_it_reads_and_writes_what_it_is_given(self, tools: Ffmpeg, directory: Path) -> None:
        film = make_film(tools, directory / "film.mp4", "mp4", seconds=1.0, extra=["-movflags", "+faststart"])
        done = tools.run(["-i", f"file:{film}", "-f", "null", "-"])
        assert done.stderr == ()

    def test_it_reads_a_file_without_a_name(self, tools: Ffmpeg, directory: Path) -> None:
        """As a sealed upload is handed to it: plain bytes that no directory lists."""
        film = make_film(tools, directory / "film.mp4", "mp4", seconds=1.0).read_bytes()
        unnamed = os.open(directory, os.O_TMPFILE | os.O_RDWR)
        try:
            os.write(unnamed, film)
            assert tools.run(["-i", f"file:/proc/self/fd/{unnamed}", "-f", "null", "-"]).stderr == ()
        finally:
            os.close(unnamed)

    def test_it_dies_with_the_process_that_started_it(self, tools: Ffmpeg) -> None:
        program = (
            "from pathlib import Path; from shared.ffmpeg import Ffmpeg; "
            f"Ffmpeg(Path({str(tools.ffmpeg)!r}), Path({str(tools.ffprobe)!r}), "
            f"wanted_sandbox={tools.wanted_sandbox!r}).run({ENDLESS!r})"
        )
        with subprocess.Popen([sys.executable, "-c", program]) as parent:
            deadline = time.monotonic() + 20
            while not (running := ffmpegs_below(parent.pid, tools.ffmpeg)):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            parent.kill()
        deadline = time.monotonic() + 5
        while any(is_running(pid, tools.ffmpeg) for pid in running):
            assert time.monotonic() < deadline, "ffmpeg outlives its parent"
            time.sleep(0.02)

    def test_a_time_out_ends_it(self, tools: Ffmpeg, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shared.ffmpeg.KILL_GRACE_S", 1.0)
        with pytest.raises(FfmpegError) as caught:
            tools.run(ENDLESS, timeout_s=0.5)
        assert caught.value.timed_out
        assert ffmpegs_below(os.getpid(), tools.ffmpeg) == []


def ffmpegs_below(pid: int, program: Path) -> list[int]:
    """The descendants of a process that are this program."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                found += [child] * is_running(child, program) + ffmpegs_below(child, program)
    return found


def is_running(pid: int, program: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/exe").readlink() == program
    except OSError:
        return False


class TestChoice:
    def test_the_first_that_works_is_taken_and_the_others_say_why_not(self) -> None:
        found = Ffmpeg.find({**os.environ, "DUBLINE_SANDBOX": "auto"}).sandbox
        first = next(each for each in ("bwrap", "landlock", "limits") if fault(each) is None)  # type: ignore[arg-type]
        assert found.variant == first
        assert len(found.against) == ("bwrap", "landlock", "limits").index(first)
        assert found.words

    def test_a_variant_that_does_not_work_is_passed_over_only_by_auto(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shared.sandbox.bubblewrap.find", lambda: None)
        monkeypatch.setattr("shared.sandbox.landlock.version", lambda: 0)
        programs = (Ffmpeg.find().ffprobe,)
        chosen.cache_clear()
        try:
            found = chosen("auto", programs)
            assert found.variant == "limits"
            assert "bubblewrap is not installed" in found.words
            for word in ("bwrap", "landlock"):
                with pytest.raises(SandboxUnavailableError, match=f"DUBLINE_SANDBOX={word} does not work here"):
                    chosen(word, programs)
        finally:
            chosen.cache_clear()

    def test_a_word_that_means_nothing_is_an_error(self) -> None:
        with pytest.raises(SandboxUnavailableError, match="may be auto, bwrap, landlock, limits"):
            wanted({"DUBLINE_SANDBOX": "docker"})

    def test_a_script_does_not_run_behind_walls(self, tmp_path: Path) -> None:
        script = tmp_path / "ffmpeg"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
        with pytest.raises(SandboxUnavailableError, match="name the program itself"):
            chosen("landlock", (script,))

    def test_a_wall_that_cannot_be_put_up_is_no_verdict_on_the_film(
        self, ffmpeg: Ffmpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Found only when ffmpeg starts: the filter is one that the kernel does not take."""
        skip_unless_it_works("landlock")
        film = make_film(ffmpeg, tmp_path / "film.mp4", "mp4", seconds=1.0)
        tools = replace(ffmpeg, wanted_sandbox="landlock")
        assert tools.sandbox.variant == "landlock"
        monkeypatch.setattr("shared.sandbox.seccomp.program", lambda **_: b"\xff" * 16)
        with pytest.raises(SandboxUnavailableError, match="confine: seccomp"):
            tools.run(["-i", f"file:{film}", "-f", "null", "-"])


class TestServices:
    """The one that is in use is logged once; one that does not work ends the start."""

    @pytest.mark.parametrize("service", ["services.ingest", "services.worker"])
    def test_a_sandbox_that_does_not_work_ends_the_start(self, service: str, directory: Path) -> None:
        environ = {**os.environ, "DUBLINE_SANDBOX": "no such", "DUBLINE_DATA_DIR": str(directory)}
        done = subprocess.run(
            [sys.executable, "-m", service], env=environ, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 78, done.stderr
        assert "refused_sandbox" in done.stderr

    def test_it_is_logged_and_held_on_to(self) -> None:
        code = (
            "import os; from shared.sandbox.at_start import settle_sandbox; "
            "settle_sandbox(); print(os.environ['DUBLINE_SANDBOX'])"
        )
        environ = {**os.environ, "DUBLINE_SANDBOX": "auto"}
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
        variant = Ffmpeg.find(environ).sandbox.variant
        assert done.stdout.splitlines()[-1] == variant
        assert (done.stdout + done.stderr).count("media_sandbox") == 1


def test_a_job_s_worth_of_starts_costs_little(variant: Variant) -> None:
    """A job makes tens of calls. The bound is generous; docs/sandbox.md has the measured figures."""
    ffprobe = Ffmpeg.find().ffprobe
    started = time.monotonic()
    for _ in range(10):
        with launching(variant, ffprobe, ["-version"], (), TRIAL_LIMITS) as start:
            subprocess.run(start.argv, pass_fds=start.fds, capture_output=True, check=True, env=CHILD_ENV)
    assert (time.monotonic() - started) / 10 < 0.5
