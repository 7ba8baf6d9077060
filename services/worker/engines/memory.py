"""Memory: how much engines may take together, and which errors say that there was not enough.

Lives here: the bound, an engine's estimate, and the recognition of an error. Does not live here: who makes room
(`registry`), what a stage does with less (`shared.job.modes`).
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

SHARE_OF_RAM = 0.4
"""The rest is for the page cache, ffmpeg, and what an engine needs beside its weights while it works."""
RUNTIME_BYTES = 256 << 20
"""What a loaded engine takes beside its weights: measured 175 MB (Whisper base) to 370 MB (Kokoro)."""
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")

_SIGNS = (
    "out of memory",  # CUDA by CTranslate2 and torch
    "cublas_status_alloc_failed",
    "cuda_error_out_of_memory",
    "bad_alloc",  # C++
    "bad allocation",
    "failed to allocate memory",  # onnxruntime
    "cannot allocate memory",  # ENOMEM as ffmpeg and libraries word it
    "can't allocate memory",  # torch on the CPU
)


def default_bound() -> int:
    """Return how many bytes the weights of one worker may take: a share of the machine's, or the container's, RAM."""
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(min(ram, container_limit() or ram) * SHARE_OF_RAM)


def container_limit(path: Path = CGROUP_LIMIT) -> int | None:
    """Return the memory limit of this control group in bytes, None without one."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # none, or "max"
        return None


def with_weights(weights_bytes: int) -> int:
    """Return about how much memory an engine takes once weights of that size are loaded."""
    return weights_bytes + RUNTIME_BYTES


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or one that caused it, says that memory of the machine or the GPU ran out."""
    return any(_says_so(each) for each in _with_causes(error))


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


def _says_so(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "code", None) == "out_of_memory":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return any(sign in text for sign in _SIGNS)
