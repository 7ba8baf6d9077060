"""What the installed Python packages say of themselves, without importing them.

Lives here: versions, presence, and the checksums that the installer recorded for a package's files.
"""

import base64
import importlib.metadata
import importlib.util


def version(distribution: str) -> str:
    """Return the installed version of a distribution, "" if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def missing(module: str, distribution: str) -> str | None:
    """Return None if a top-level module can be imported, else a sentence that says what to do."""
    if importlib.util.find_spec(module) is not None:
        return None
    return f"the Python package {distribution} is not installed: run `pip install {distribution}`"


def recorded_sha256(distribution: str, suffix: str) -> str:
    """Return the hex SHA-256 that the wheel's RECORD states for its one file whose path ends in `suffix`.

    The installer checked it when it unpacked the wheel. "" if the distribution or the file is not there.
    """
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    hashes = [file.hash for file in files if file.as_posix().endswith(suffix)]
    if len(hashes) != 1 or hashes[0] is None or hashes[0].mode != "sha256":
        return ""
    value = hashes[0].value
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
