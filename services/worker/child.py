"""The stage child: reads commands from stdin, runs stages with warm engines, answers on stdout.

Lives here: the process. Started by `services.worker.child_process`; dies with its parent (PR_SET_PDEATHSIG).
"""

import ctypes
import errno
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from services.worker.engines.protocols import EngineOptions
from services.worker.engines.registry import Engines
from services.worker.execution import execute
from services.worker.messages import Failed, FromChild, Progressed
from services.worker.settings import WorkerSettings
from services.worker.stages.base import StageError
from shared.commands import StageCommand
from shared.ffmpeg import Ffmpeg, FfmpegError
from shared.layout import JobPaths

PR_SET_PDEATHSIG = 1
PROGRESS_INTERVAL_S = 0.2


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the worker ends, however it ends: no stage outlives its owner."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:
        sys.exit("the worker is gone")


def throttled(send: Callable[[FromChild], None]) -> Callable[[float, str], None]:
    """Return a progress function that sends at most five messages a second."""
    last = 0.0

    def progress(fraction: float, message: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_INTERVAL_S or fraction >= 1.0:
            last = now
            send(Progressed(fraction=min(1.0, max(0.0, fraction)), message=message))

    return progress


def failure_of(error: Exception, stage_log: Path) -> Failed:
    """Return what the event will say. Messages carry no transcript text; the stage log has the frames."""
    stage_log.parent.mkdir(parents=True, exist_ok=True)
    with stage_log.open("a") as log:
        log.write("".join(traceback.format_tb(error.__traceback__)) + type(error).__name__ + "\n")
    match error:
        case StageError():
            return Failed(code=error.code, message=error.message, retryable=error.retryable)
        case FfmpegError():
            return Failed(code="ffmpeg_failed", message=str(error)[:500], retryable=True)
        case MemoryError():
            return Failed(code="out_of_memory", message="the stage ran out of memory", retryable=True)
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Failed(code="disk_full", message="the disk is full: free some space and run again", retryable=True)
        case _:
            name = type(error).__name__
            return Failed(code="stage_crashed", message=f"the stage crashed ({name}); see its log", retryable=True)


def run_one(line: str, settings: WorkerSettings, engines: Engines, send: Callable[[FromChild], None]) -> None:
    """Run the command in this line and send its outcome."""
    command = StageCommand.model_validate_json(line)
    paths: JobPaths = settings.layout.job(command.job_id, command.job.base_dir, command.job.stem)
    ffmpeg = Ffmpeg.find(log_dir=paths.ffmpeg_logs)
    try:
        finished = execute(command, settings.layout, engines, ffmpeg, throttled(send))
    except Exception as error:  # noqa: BLE001 -- the process boundary: every failure becomes a message
        send(failure_of(error, paths.stage_log(command.stage)))
    else:
        send(finished.model_copy(update={"loaded_engines": engines.loaded()}))


def main() -> None:
    """Serve until stdin closes."""
    die_with_parent()
    answers: TextIO = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not look like an answer

    def send(message: FromChild) -> None:
        answers.write(message.model_dump_json() + "\n")
        answers.flush()

    settings = WorkerSettings()
    engines = Engines.installed(EngineOptions(settings.models_dir, settings.worker_threads))
    for line in sys.stdin:
        run_one(line, settings, engines, send)


if __name__ == "__main__":
    main()
