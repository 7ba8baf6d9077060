"""`python -m tests.integration.worker.child_program`: the real stage child with works of its own instead of stages.

The job's title says which.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from services.worker.child import serve
from services.worker.engines.protocols import EngineError
from services.worker.engines.registry import Engines
from services.worker.messages import Finished
from shared.artifacts import atomic_path, describe, temporary_path, write_bytes
from shared.commands import StageCommand
from shared.events.types import EngineUsed, Timings
from shared.ffmpeg import Ffmpeg
from shared.layout import JobPaths, Layout

Progress = Callable[[float, str], None]
FOREVER_S = 600.0


def deaf(paths: JobPaths, _: Progress) -> None:
    """Never come to a progress point."""
    write_bytes(paths.work / "began", str(os.getpid()).encode())
    time.sleep(FOREVER_S)


def steady(paths: JobPaths, progress: Progress) -> None:
    """Come to one often, until somebody lets it finish."""
    write_bytes(paths.work / "began", str(os.getpid()).encode())
    while not (paths.work / "finish").exists():
        progress(0.5, "steady")
        time.sleep(0.01)


def busy(paths: JobPaths, _: Progress) -> None:
    """Come to no progress point until somebody lets it finish."""
    write_bytes(paths.work / "began", str(os.getpid()).encode())
    while not (paths.work / "finish").exists():
        time.sleep(0.01)


def parent(paths: JobPaths, progress: Progress) -> None:
    """Have a grandchild that would outlive a careless kill."""
    with subprocess.Popen(["sleep", str(int(FOREVER_S))]) as grandchild:
        write_bytes(paths.work / "grandchild", str(grandchild.pid).encode())
        deaf(paths, progress)


def untidy(paths: JobPaths, progress: Progress) -> None:
    """Be in the middle of files, as `tts` and `mix` are, with a library unpacked into TMPDIR, as by phonemizer."""
    take = Layout(paths.output_root.parent).take("u1", "ab12")
    with atomic_path(paths.dialogue) as dialogue, temporary_path(paths.dialogue) as premix, atomic_path(take) as line:
        for file in (dialogue, dialogue.with_suffix(".f32"), premix, line):
            file.write_bytes(b"half")
        (Path(tempfile.mkdtemp()) / "libespeak-ng.so").write_bytes(b"library")
        steady(paths, progress)
        dialogue.with_suffix(".f32").unlink()


def listener(paths: JobPaths, _: Progress) -> None:
    """Make onnxruntime work, and tell what that put into TMPDIR and the home directory."""
    from faster_whisper.vad import get_vad_model

    get_vad_model()
    found = [*Path(tempfile.gettempdir()).rglob("*"), *Path.home().rglob("*")]
    write_bytes(paths.work / "found", " ".join(file.name for file in found).encode())


def hog(_: JobPaths, progress: Progress) -> None:
    """Take memory without end, for real."""
    held = []
    while True:
        held.append(np.ones(32 << 20, np.uint8))
        progress(0.5, "")


def quick(_: JobPaths, progress: Progress) -> None:
    progress(1.0, "")


def suicide(_: JobPaths, __: Progress) -> None:
    os._exit(7)


def broken(_: JobPaths, __: Progress) -> None:
    raise EngineError("no voice", engine="kokoro")


WORKS = {work.__name__: work for work in (deaf, steady, busy, parent, untidy, listener, hog, quick, suicide, broken)}


def execute(command: StageCommand, layout: Layout, engines: Engines, ffmpeg: Ffmpeg, progress: Progress) -> Finished:
    paths = layout.job(command.job_id, command.job.base_dir, command.job.stem)
    WORKS[command.job.title](paths, progress)
    target: Path = paths.work / "artifact"
    write_bytes(target, f"{os.getppid()}".encode())
    return Finished(
        key="k", outputs=[describe("artifact", target, layout.output)], timings=Timings(), issues=[], facts={},
        engine=EngineUsed(name="e", version="1", device="cpu", digest="d"),
    )  # fmt: skip


CHILD = (sys.executable, "-m", "tests.integration.worker.child_program")

if __name__ == "__main__":
    serve(execute)
