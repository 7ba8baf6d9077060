"""The credential of a benchmark: one local key for all the services that it starts.

Every process that is started from here on finds the key's file by its environment.
"""

import os
import tempfile
from pathlib import Path

from shared.access.local_key import ensure_local_key, read_local_key

VARIABLE = "DUBLINE_LOCAL_KEY_FILE"


def local_key() -> str:
    """Return the key, made at the first call in any of a benchmark's processes."""
    if VARIABLE not in os.environ:
        path = Path(tempfile.mkdtemp(prefix="dubline-bench-")) / "local-key"
        ensure_local_key(path)
        os.environ[VARIABLE] = str(path)
    key = read_local_key(Path(os.environ[VARIABLE]))
    assert key
    return key


def headers() -> dict[str, str]:
    """Return the header that shows it. Peers get it too, and ignore it."""
    return {"X-Api-Key": local_key()}
