"""Large buffers that are made and dropped thousands of times a second stay with the process.

Lives here: one setting of glibc's allocator. Does not live here: how large buffers are (each service's own).

asyncio reads up to 256 KiB at a time. By default glibc takes blocks of that size from the kernel and gives them back at
once: 160 page faults for each of them (tests/unit/test_heap.py). Fixing the thresholds also ends glibc's own
adjusting, by which one process read uploads several times as fast as the next.
"""

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""mallopt(3)."""
LARGEST_KEPT_BYTES = 4 << 20
"""Above the blocks of 1 MiB in which bodies are written and files are sent, with what Python adds to them."""
UNUSED_KEPT_BYTES = 8 << 20
"""Free bytes at the heap's end that are not given back."""


def keep_large_buffers() -> None:
    """Let the allocator keep what a request's next block will need. Does nothing where the C library is not glibc."""
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, UNUSED_KEPT_BYTES)
