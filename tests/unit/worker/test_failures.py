"""What becomes of a stage's failure: a stable code, a sentence for a person, never the text that was being dubbed."""

import errno
from pathlib import Path

import pytest

from services.worker.child import failure_of
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
        (MemoryError(), "out_of_memory", True),
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
