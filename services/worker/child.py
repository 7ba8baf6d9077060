"""The stage child: reads commands from stdin, runs stages with warm engines, answers on stdout.

Lives here: the process. Started by `services.worker.child_process`; dies with its parent (PR_SET_PDEATHSIG). SIGTERM
asks the running stage to end; what the child learns of its parent's lease goes to `gate`.
"""

import ctypes
import errno
import os
import queue
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from services.worker import execution
from services.worker.engines.memory import is_out_of_memory
from services.worker.engines.protocols import EngineError, EngineOptions
from services.worker.engines.registry import Engines
from services.worker.gate import Gate, StageCanceledError
from services.worker.job_log import StageLog
from services.worker.messages import CANCELED, TO_CHILD, Failed, Finished, FromChild, Progressed, Renewed, Run, Warm
from services.worker.settings import WorkerSettings
from services.worker.stages.base import StageError
from services.worker.warm import load_engines
from shared.artifacts import set_rules
from shared.commands import StageCommand
from shared.ffmpeg import Ffmpeg, FfmpegError
from shared.layout import JobPaths, Layout
from shared.niceness import yield_to_services
from shared.sealing.keys import vault_or_exit
from shared.sealing.vault import Vault
from shared.telemetry_off import turn_telemetry_off

PR_SET_PDEATHSIG = 1
PROGRESS_INTERVAL_S = 0.2
MEGA = 1 << 20

Execute = Callable[[StageCommand, Layout, Engines, Ffmpeg, Callable[[float, str], None]], Finished]
"""Runs a stage. What it raises is its failure."""


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the worker ends, however it ends: no stage outlives its owner."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:
        sys.exit("the worker is gone")


def limit_memory(megabytes: int) -> None:
    """Let allocations beyond this fail (0: no limit), here and in every program that is started from here.

    Private writable memory is counted (RLIMIT_DATA), not address space: weights are mapped, and threads reserve much
    that they never touch.
    """
    if megabytes:
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes * MEGA, megabytes * MEGA))


def progress_to(send: Callable[[FromChild], None], gate: Gate, log: StageLog) -> Callable[[float, str], None]:
    """Return a progress function that goes through the gate each time, and tells at most five times a second."""
    last = 0.0

    def progress(fraction: float, message: str) -> None:
        nonlocal last
        gate.check()
        now = time.monotonic()
        if now - last >= PROGRESS_INTERVAL_S or fraction >= 1.0:
            last = now
            fraction = min(1.0, max(0.0, fraction))
            send(Progressed(fraction=fraction, message=message))
            log.progress(fraction, message)

    return progress


def failure_of(error: Exception, stage_log: Path) -> Failed:
    """Return what the event will say. Messages carry no transcript text; the stage log has the frames."""
    try:
        stage_log.parent.mkdir(parents=True, exist_ok=True)
        with stage_log.open("a") as log:
            log.write("".join(traceback.format_tb(error.__traceback__)) + type(error).__name__ + "\n")
    except OSError:  # a full disk is what we may be about to report
        pass
    failed = _classified(error)
    return failed.model_copy(update={"engine": error.engine if isinstance(error, EngineError | StageError) else None})


def _classified(error: Exception) -> Failed:
    if is_out_of_memory(error):
        return Failed(code="out_of_memory", message="the stage ran out of memory", retryable=True)
    if _is_disk_full(error):
        return Failed(code="disk_full", message="the disk is full: free some space and run again", retryable=True)
    match error:
        case StageError():
            return Failed(code=error.code, message=error.message, retryable=error.retryable)
        case EngineError():
            return Failed(code="engine_failed", message=str(error)[:500], retryable=True)
        case FfmpegError():
            return Failed(code="ffmpeg_failed", message=str(error)[:500], retryable=True)
        case _:
            name = type(error).__name__
            return Failed(code="stage_crashed", message=f"the stage crashed ({name}); see its log", retryable=True)


def _is_disk_full(error: BaseException) -> bool:
    """Return whether a write failed for want of space: ours, or that of a program, which says so in its log."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if isinstance(error, FfmpegError):
        return any(os.strerror(number) in line for number in (errno.ENOSPC, errno.EDQUOT) for line in error.stderr)
    return error.__cause__ is not None and _is_disk_full(error.__cause__)


@dataclass(frozen=True)
class Workshop:
    """All that a command is run with; `execute` is `services.worker.execution.execute`, or a test's own work."""

    settings: WorkerSettings
    engines: Engines
    gate: Gate
    send: Callable[[FromChild], None]
    execute: Execute
    vault: Vault | None = None

    def run(self, command: StageCommand, at: float) -> Finished | Failed:
        """Run one command and return its outcome."""
        layout = self.settings.layout
        paths: JobPaths = layout.job(command.job_id, command.job.base_dir, command.job.stem)
        # ffmpeg's quote the video's title and tags
        keeps_logs = not command.job.keeping.private and (self.vault is None or not self.vault.seals_uploads)
        ffmpeg = Ffmpeg.find(log_dir=paths.ffmpeg_logs if keeps_logs else None)
        log = StageLog(paths.job_log, command)
        self.gate.start(at)
        try:
            log.started()
            progress = progress_to(self.send, self.gate, log)
            outcome: Finished | Failed = self.execute(command, layout, self.engines, ffmpeg, progress)
        except StageCanceledError:
            outcome = Failed(code=CANCELED, message="the stage was asked to end", retryable=True)
        except Exception as error:  # noqa: BLE001 -- the process boundary: every failure becomes a message
            outcome = failure_of(error, paths.stage_log(command.stage))
        finally:
            self.gate.end()
        log.ended(outcome)
        return outcome.model_copy(update={"loaded_engines": self.engines.loaded()})


def listen(commands: "queue.SimpleQueue[Run | Warm | None]", gate: Gate) -> None:
    """Read stdin to its end: renewals go to the gate at once, the rest waits for its turn."""
    for line in sys.stdin:
        message = TO_CHILD.validate_json(line)
        if isinstance(message, Renewed):
            gate.renew(message.at)
        else:
            commands.put(message)
    commands.put(None)


def serve(execute: Execute) -> None:
    """Serve until stdin closes."""
    die_with_parent()
    yield_to_services()
    answers: TextIO = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    turn_telemetry_off()
    settings = WorkerSettings()
    vault = vault_or_exit(settings)
    limit_memory(settings.child_max_mem_mb)
    gate = Gate(settings.ack_wait_s)
    set_rules(gate.check, settings.journal_dir, vault)
    signal.signal(signal.SIGTERM, lambda *_: gate.ask_to_end())
    signal.signal(signal.SIGCONT, lambda *_: gate.check())  # before the next line of whatever was stopped

    def send(message: FromChild) -> None:
        answers.write(message.model_dump_json() + "\n")
        answers.flush()

    commands: queue.SimpleQueue[Run | Warm | None] = queue.SimpleQueue()
    threading.Thread(target=listen, args=(commands, gate), daemon=True).start()
    options = EngineOptions(settings.models_dir, settings.worker_threads)
    engines = Engines.installed(options, max_loaded=settings.model_cache_max)
    workshop = Workshop(settings, engines, gate, send, execute, vault)
    while (message := commands.get()) is not None:
        match message:
            case Run():
                send(workshop.run(message.command, message.at))
            case Warm():
                send(load_engines(engines, message.settings))


if __name__ == "__main__":
    serve(execution.execute)
