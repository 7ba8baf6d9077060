"""This machine's own key: whoever may read the data directory operates the installation, as with a database's socket.

The command line uses it; it is an admin's, belongs to no account, and can only be read from its file (0600). Deleting
the file revokes it at once, the next start makes another. Lives here: making, reading and recognising it.
"""

import hmac
import time
from pathlib import Path

from shared.access.credentials import LOCAL_KEY_ID, digest, new_key
from shared.secret_files import write_private

LOOK_AGAIN_S = 0.5


def ensure_local_key(path: Path) -> None:
    """Make the key if there is none. Raises OSError."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, f"{new_key(LOCAL_KEY_ID)}\n")


def read_local_key(path: Path) -> str | None:
    """Return the key, None if there is none or it is not ours to read."""
    try:
        return path.read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


class LocalKey:
    """Recognises the key; the file is looked at again after half a second, so that a deleted one is refused."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = ""
        self._until = 0.0

    def is_it(self, shown: str) -> bool:
        """Return whether `shown` is the key's digest. Reads a file of 70 bytes at most twice a second."""
        now = time.monotonic()
        if now >= self._until:
            key = read_local_key(self._path)
            self._digest, self._until = digest(key) if key else "", now + LOOK_AGAIN_S
        return bool(self._digest) and hmac.compare_digest(self._digest, shown)
