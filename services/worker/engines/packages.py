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
    file = _recorded(distribution, suffix)
    if file is None or file.hash is None or file.hash.mode != "sha256":
        return ""
    value = file.hash.value
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()


def recorded_size(distribution: str, suffix: str) -> int:
    """Return the bytes that the wheel's RECORD states for that file, 0 if it states none."""
    file = _recorded(distribution, suffix)
    return (file.size if file else None) or 0


def _recorded(distribution: str, suffix: str) -> importlib.metadata.PackagePath | None:
    """Return the record of the one file whose path ends in `suffix`, None if there is not exactly one."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [file for file in files if file.as_posix().endswith(suffix)]
    return found[0] if len(found) == 1 else None
