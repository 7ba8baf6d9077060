"""Running ffmpeg and ffprobe: the only place that starts either.

Lives here: time-outs, pipes, progress. Does not live here: finding the binaries (`shared.ffmpeg_binaries`), the sandbox
around them (`shared.sandbox`), what a file may be (`shared.media_inputs`, `shared.media_check`) and what is done with
it (the worker's stages). Argument lists are composed with ffmpeg-python (`ffmpeg.output(...).get_args()`); files are
named `file:<path>` and reach the child only as open descriptors.
"""

import contextlib
import hashlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import IO, Self, cast

from shared.ffmpeg_binaries import CHILD_ENV, find_binary, version_text
from shared.media_inputs import opened
from shared.sandbox.choice import Found, Wanted, chosen, wanted
from shared.sandbox.errors import SandboxUnavailableError
from shared.sandbox.launch import ResourceLimits, complaint, launching

KILL_GRACE_S = 5.0
"""How long a process that was asked to stop may take before it is killed."""
STDERR_LINES = 40
MAX_ALLOC_BYTES = 512 << 20


class FfmpegError(RuntimeError):
    """ffmpeg or ffprobe did not finish. `stderr` is the end of its log; files in it are descriptors, not names."""

    def __init__(self, program: str, exit_code: int, stderr: Sequence[str], *, timed_out: bool = False) -> None:
        reason = "took too long and was killed" if timed_out else f"ended with code {exit_code}"
        super().__init__(": ".join([f"{program} {reason}", *stderr[-1:]]))
        self.exit_code = exit_code
        self.stderr = tuple(stderr)
        self.timed_out = timed_out


@dataclass(frozen=True)
class Limits:
    """What one child process may use. x264 on a 4K picture maps about 2 GiB per handful of threads."""

    address_space: int = 8 << 30
    file_bytes: int = 64 << 30
    open_files: int = 64
    threads: int = 4
    run_timeout_s: float = 1200.0
    """The predecessor's watchdog for a media stage: 20 minutes."""
    probe_timeout_s: float = 30.0


@dataclass(frozen=True)
class Completed:
    """What a finished run wrote to standard output and error (the end of the latter)."""

    stdout: bytes
    stderr: tuple[str, ...]


@dataclass(frozen=True)
class Ffmpeg:
    """Both binaries, and how they are run. Cheap to copy and to send to a child process."""

    ffmpeg: Path
    ffprobe: Path
    limits: Limits = Limits()
    log_dir: Path | None = None
    """Where each run leaves its argument list and log, if anywhere."""
    wanted_sandbox: Wanted = "auto"

    @classmethod
    def find(cls, environ: Mapping[str, str] = os.environ, *, log_dir: Path | None = None) -> Self:
        """Return the binaries named by FFMPEG_BIN and FFPROBE_BIN, else the pinned package's, else those on PATH.

        DUBLINE_SANDBOX says what they run in. Raises FfmpegMissingError, SandboxUnavailableError.
        """
        binaries = find_binary("ffmpeg", environ), find_binary("ffprobe", environ)
        return cls(*binaries, log_dir=log_dir, wanted_sandbox=wanted(environ))

    @property
    def version(self) -> str:
        """The version that the binary states, for instance `7.0.2-static`."""
        return version_text(self.ffmpeg).split()[2]

    @property
    def digest(self) -> str:
        """SHA-256 over everything that the binary says of itself: version, build configuration, library versions."""
        return hashlib.sha256(version_text(self.ffmpeg).encode()).hexdigest()

    @property
    def sandbox(self) -> Found:
        """What both run in; tried the first time that a process asks. Raises SandboxUnavailableError."""
        return chosen(self.wanted_sandbox, (self.ffprobe, self.ffmpeg))

    def run(
        self,
        args: Sequence[str],
        *,
        timeout_s: float | None = None,
        progress: Callable[[float], None] | None = None,
        loglevel: str = "warning",
    ) -> Completed:
        """Run ffmpeg to its end. `progress` is told the seconds of output made so far.

        Raises FfmpegError, UnknownMediaError, OSError.
        """
        with ExitStack() as stack:
            global_args: list[str] = []
            reports: BufferedReader | None = None
            fds: tuple[int, ...] = ()
            if progress is not None:
                read_fd, write_fd = os.pipe()
                reports = stack.enter_context(open(read_fd, "rb"))  # noqa: PTH123 -- a descriptor, not a path
                close_write = stack.enter_context(ExitStack())
                close_write.callback(os.close, write_fd)
                global_args, fds = ["-progress", f"pipe:{write_fd}"], (write_fd,)
            child = stack.enter_context(
                self._child(self.ffmpeg, [*global_args, *args], fds=fds, timeout_s=timeout_s, loglevel=loglevel)
            )
            out: list[bytes] = []
            collector = threading.Thread(target=lambda: out.append(child.stdout.read()), daemon=True)
            collector.start()
            if progress is not None and reports is not None:
                close_write.close()
                for line in reports:
                    key, _, value = line.strip().partition(b"=")
                    if key == b"out_time_us" and value.lstrip(b"-").isdigit():
                        progress(max(0.0, int(value) / 1e6))
            collector.join()
            child.finish()
            return Completed(b"".join(out), tuple(child.stderr))

    @contextmanager
    def reading(self, args: Sequence[str], *, timeout_s: float | None = None) -> Iterator[BufferedReader]:
        """Run ffmpeg and read its `pipe:1` while it works. Leaving early stops it.

        Raises FfmpegError when the stream was read to its end and ffmpeg failed; UnknownMediaError, OSError.
        """
        with self._child(self.ffmpeg, args, timeout_s=timeout_s) as child:
            yield child.stdout
            if not child.stdout.peek(1):
                child.finish()

    @contextmanager
    def writing(
        self, args: Sequence[str], *, timeout_s: float | None = None, loglevel: str = "warning"
    ) -> Iterator[tuple[BufferedWriter, deque[str]]]:
        """Run ffmpeg and write to its `pipe:0`; yields the pipe and the log's end, complete after the block.

        Raises FfmpegError (also for a pipe that ffmpeg closed early), UnknownMediaError, OSError.
        """
        with self._child(self.ffmpeg, args, stdin=subprocess.PIPE, timeout_s=timeout_s, loglevel=loglevel) as child:
            pipe = child.stdin
            try:
                yield pipe, child.stderr
                pipe.close()
            except BrokenPipeError:
                child.finish()
                raise
            child.stdout.read()
            child.finish()

    def ffprobe_lines(self, args: Sequence[str], *, timeout_s: float | None = None) -> Iterator[str]:
        """Yield ffprobe's output line by line; a line that it logs comes with the prefix `log `.

        Raises FfmpegError, UnknownMediaError, OSError.
        """
        limit = self.limits.probe_timeout_s if timeout_s is None else timeout_s
        with self._child(self.ffprobe, args, timeout_s=limit, loglevel="error") as child:
            for line in child.stdout:
                yield line.decode(errors="replace").rstrip("\n")
            child.finish()
            yield from (f"log {line}" for line in child.stderr)

    @contextmanager
    def _child(
        self,
        program: Path,
        args: Sequence[str],
        *,
        stdin: int = subprocess.DEVNULL,
        fds: tuple[int, ...] = (),
        timeout_s: float | None = None,
        loglevel: str = "warning",
    ) -> Iterator["_Child"]:
        """Start a program in its sandbox and process group; whatever happens, it is gone after the block."""
        limits = self.limits
        allowed_s = limits.run_timeout_s if timeout_s is None else timeout_s
        common = ["-hide_banner", "-loglevel", loglevel, "-max_alloc", f"{MAX_ALLOC_BYTES}"]
        if program == self.ffmpeg:
            common += ["-nostdin", "-y"]
        with opened(args, limits.threads) as files, ExitStack() as stack:
            cpu_s = int(allowed_s * (os.cpu_count() or 1)) + 1
            resources = ResourceLimits(limits.address_space, cpu_s, limits.file_bytes, limits.open_files)
            log = self._log_file(stack, program, [str(program), *common, *files.args])
            with launching(
                self.sandbox.variant, program, [*common, *files.args], (*files.fds, *fds), resources
            ) as start:
                process = stack.enter_context(
                    subprocess.Popen(
                        start.argv,
                        stdin=stdin,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        pass_fds=start.fds,
                        start_new_session=True,
                        env=CHILD_ENV,
                    )
                )
            child = _Child(process, program.name, allowed_s, log)
            stack.callback(child.stop)
            yield child

    def _log_file(self, stack: ExitStack, program: Path, argv: list[str]) -> IO[bytes] | None:
        if self.log_dir is None:
            return None
        self.log_dir.mkdir(parents=True, exist_ok=True)
        path = self.log_dir / f"{time.time_ns()}-{program.name}.log"
        log = stack.enter_context(path.open("wb"))
        log.write(" ".join(argv).encode() + b"\n")
        return log


class _Child:
    """A running program: its pipes, its log's end, and the watchdog over it."""

    def __init__(self, process: subprocess.Popen[bytes], program: str, allowed_s: float, log: IO[bytes] | None) -> None:
        self._process = process
        self._program = program
        self._log = log
        self._timed_out = False
        self.stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._drain = threading.Thread(target=self._read_stderr, daemon=True)
        self._drain.start()
        self._watchdog = threading.Timer(allowed_s, self._expire)
        self._watchdog.daemon = True
        self._watchdog.start()

    @property
    def stdin(self) -> BufferedWriter:
        return cast(BufferedWriter, self._process.stdin)

    @property
    def stdout(self) -> BufferedReader:
        return cast(BufferedReader, self._process.stdout)

    def finish(self) -> None:
        """Wait for the end and for the last of the log.

        Raises FfmpegError unless the program succeeded, SandboxUnavailableError if it never started.
        """
        exit_code = self._process.wait()
        self._drain.join()
        self._watchdog.cancel()
        if exit_code != 0 and (fault := complaint(self.stderr)):
            raise SandboxUnavailableError(f"{self._program} was not started: {fault}")
        if exit_code != 0 or self._timed_out:
            raise FfmpegError(self._program, exit_code, list(self.stderr), timed_out=self._timed_out)

    def stop(self) -> None:
        """End the whole process group: politely, then not. No-op once it has ended."""
        self._watchdog.cancel()
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            try:
                self._process.wait(KILL_GRACE_S)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._process.wait()
        self._drain.join()

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.stderr.append(line.decode(errors="replace").rstrip())
            if self._log is not None:
                self._log.write(line)

    def _expire(self) -> None:
        self._timed_out = True
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(KILL_GRACE_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
