"""Secrets of this installation that are files: made once, readable by their owner alone.

Lives here: making and reading one, and keys derived from it. Does not live here: which there are (`shared.layout`).
"""

import base64
import binascii
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.artifacts import publish, temporary_path

KEY_BYTES = 32


class UnusableSecretError(RuntimeError):
    """A secret's file is missing or holds no key; the message names the file and never its content."""


def ensure_secret(path: Path) -> None:
    """Make a file with a new 256-bit key in Base64, 0600, unless there is one. Raises OSError."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, new_secret() + "\n")


def new_secret() -> str:
    """Return a new 256-bit key in Base64."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def read_secret(path: Path) -> bytes:
    """Return the 32 bytes of a key file. Raises UnusableSecretError."""
    try:
        return decode_secret(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableSecretError(f"{path} cannot be read: {getattr(error, 'strerror', 'not text')}.") from error


def decode_secret(text: str, name: str) -> bytes:
    """Return the 32 bytes that `text` is the Base64 of. Raises UnusableSecretError with `name`."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnusableSecretError(f"{name} is not Base64.") from error
    if len(key) != KEY_BYTES:
        raise UnusableSecretError(f"{name} holds {len(key)} bytes; a key has {KEY_BYTES}.")
    return key


def derived_key(secret: bytes, purpose: str, salt: bytes = b"") -> bytes:
    """Return 32 bytes for one purpose (HKDF-SHA256, RFC 5869): two purposes never share a key."""
    return HKDF(SHA256(), KEY_BYTES, salt or None, purpose.encode()).derive(secret)


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file that only its owner reads; never, not even for a moment, with wider permissions. Raises OSError."""
    with temporary_path(path) as temporary:
        temporary.touch(0o600, exist_ok=False)
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        publish(temporary, path)
