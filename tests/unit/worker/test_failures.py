"""What becomes of a stage's failure: a stable code, a sentence for a person, never the text that was being dubbed."""

import errno
from pathlib import Path

import pytest

from services.worker.child import failure_of
from services.worker.engines.protocols import EngineError
from services.worker.stages.base import StageError
from shared.ffmpeg import FfmpegError

SPOKEN = "the private words of a line"


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (StageError("no_speech", "no speech was recognised"), "no_speech", False),
        (FfmpegError("ffmpeg", 1, ["Conversion failed!"]), "ffmpeg_failed", True),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full", True),
        (OSError(errno.EDQUOT, "Quota exceeded"), "disk_full", True),
        (FfmpegError("ffmpeg", 228, ["av_interleaved_write_frame(): No space left on device"]), "disk_full", True),
        (MemoryError(), "out_of_memory", True),
        (EngineError("whisper: CUDA failed with error out of memory", "whisper"), "out_of_memory", True),
        (EngineError("kokoro has no such voice", "kokoro"), "engine_failed", True),
        (ValueError(SPOKEN), "stage_crashed", True),
    ],
)
def test_each_failure_has_its_code(tmp_path: Path, error: Exception, code: str, *, retryable: bool) -> None:
    log = tmp_path / "logs" / "stages" / "tts.log"
    failed = failure_of(error, log)
    assert (failed.code, failed.retryable) == (code, retryable)
    assert SPOKEN not in failed.message
    assert SPOKEN not in log.read_text(), "E8: an engine's message may quote the line"
    assert type(error).__name__ in log.read_text()


def test_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    assert "free some space" in failure_of(OSError(errno.ENOSPC, ""), tmp_path / "mix.log").message


@pytest.mark.parametrize("error", [EngineError("e", "whisper"), StageError("engine_failed", "m", engine="whisper")])
def test_an_engine_that_failed_is_named(tmp_path: Path, error: Exception) -> None:
    assert failure_of(error, tmp_path / "tts.log").engine == "whisper"


def test_a_disk_that_cannot_take_the_stage_log_is_still_told(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    assert failure_of(OSError(errno.ENOSPC, ""), tmp_path / "logs" / "mix.log").code == "disk_full"
