"""Which errors mean that memory ran out, and how much engines may take."""

import errno
from pathlib import Path

import numpy as np
import pytest

from services.worker.engines.memory import container_limit, default_bound, is_out_of_memory
from services.worker.engines.protocols import EngineError


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA failed with error out of memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"),
        RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer"),
        RuntimeError("std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        EngineError("whisper could not be loaded (cuda float16: CUDA failed with error out of memory)"),
    ],
)
def test_every_library_s_way_of_running_out_of_memory_is_known(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_a_real_allocation_that_is_too_large_is_recognised() -> None:
    with pytest.raises(MemoryError) as failure:
        np.ones(1 << 60, np.uint8)
    assert is_out_of_memory(failure.value)


def test_the_cause_of_an_engine_s_error_counts() -> None:
    error = EngineError("kokoro failed")
    assert not is_out_of_memory(error)
    error.__cause__ = MemoryError()
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("unsupported language"), OSError(errno.ENOSPC, "No space left on device"), EngineError("no voice")],
)
def test_other_failures_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_the_limit_of_a_container_is_read_and_its_absence_too(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    assert container_limit(limit) is None
    limit.write_text("max\n")
    assert container_limit(limit) is None
    limit.write_text("2147483648\n")
    assert container_limit(limit) == 2 << 30


def test_the_default_bound_leaves_most_of_the_memory_to_others() -> None:
    total = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    assert 0 < default_bound() <= total * 1024 * 0.4
