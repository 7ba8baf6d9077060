"""Where engines compute on this machine, by probe. `python -m services.worker.device` prints it.

Lives here: the question. It costs the import of CTranslate2, and is asked once by a process.
"""

import sys
from typing import Literal

Place = Literal["cpu", "cuda"]


def probe_device() -> Place:
    """Return `cuda` if there is a device that CTranslate2 can use, else `cpu`."""
    try:
        import ctranslate2  # noqa: PLC0415 -- heavy, and optional
    except ImportError:
        return "cpu"
    try:
        return "cuda" if ctranslate2.get_cuda_device_count() > 0 else "cpu"
    except RuntimeError:  # a driver without a device
        return "cpu"


if __name__ == "__main__":
    sys.stdout.write(f"{probe_device()}\n")
