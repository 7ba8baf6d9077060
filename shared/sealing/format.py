"""The format of a sealed file: a header, then chunks of 64 KiB, each encrypted and authenticated by itself.

Lives here: bytes and their meaning. Does not live here: files (`reader`, `writer`) and where keys come from (`keys`).

    header   128 bytes: "DUBSEAL", version 1, chunk size (u32), key id (8), salt (32), binding's length (u8), binding
    chunk    nonce (12), AES-256-GCM of up to 64 KiB of plain text, tag (16)

All numbers are big-endian. The key is HKDF-SHA256 of the installation's key with the file's own salt. A nonce is random
for each write and stored: the last chunk of a growing file is written again and again, and a nonce that followed from
its number would then be used twice, which gives GCM's key away. The additional data of a chunk is the whole header, the
chunk's number, its plain length and its kind, so chunks cannot be exchanged, repeated or left out, and a file that is
cut off does not end with the last chunk. The binding says what the file is: an upload's id, or an artifact's class and
digest. Whoever opens one names the binding that it must have, so one file cannot stand in for another.
"""

import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC = b"DUBSEAL"
VERSION = 1
CHUNK = 64 << 10
"""Plain bytes of every chunk but the last: a fine grain for seeking, and 0.04 % more bytes."""
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD = NONCE_BYTES + TAG_BYTES
FRAME = CHUNK + OVERHEAD
"""Bytes of a whole chunk in the file."""
KEY_BYTES = 32
KEY_ID_BYTES = 8
SALT_BYTES = 32
_FIXED = struct.Struct(f">{len(MAGIC)}sBI{KEY_ID_BYTES}s{SALT_BYTES}sB")
HEADER_BYTES = 128
BINDING_BYTES = HEADER_BYTES - _FIXED.size
"""A binding is at most so long, in UTF-8."""
_PLACE = struct.Struct(">QIB")


class SealError(RuntimeError):
    """A sealed file cannot be opened; the message says why, without any of its content."""


class DamagedError(SealError):
    """The file was cut off or changed, or is another one than the one that was asked for."""


class UnknownKeyError(SealError):
    """The file was sealed with a key that is not here."""


class Kind(IntEnum):
    """What a chunk says of its place."""

    INNER = 0
    LAST = 1
    TAIL = 2
    """What does not fill a chunk yet, of a file that is still growing (`writer`)."""


def key_id(key: bytes) -> bytes:
    """Return the name of a key, from which nothing of the key follows."""
    return HKDF(SHA256(), KEY_ID_BYTES, None, b"dubline artifacts key id").derive(key)


@dataclass(frozen=True)
class Header:
    """What a sealed file says of itself in clear."""

    key_id: bytes
    salt: bytes
    binding: str

    @classmethod
    def new(cls, key: bytes, binding: str) -> Self:
        """Return the header of a new file. Raises ValueError for a binding that is empty or too long."""
        if not 0 < len(binding.encode()) <= BINDING_BYTES:
            raise ValueError(f"a binding has 1 to {BINDING_BYTES} bytes")
        return cls(key_id(key), os.urandom(SALT_BYTES), binding)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Return the header in these bytes. Raises DamagedError."""
        if len(raw) < HEADER_BYTES or not raw.startswith(MAGIC):
            raise DamagedError("this is no sealed file")
        _, version, chunk, named_key, salt, length = _FIXED.unpack_from(raw)
        if version != VERSION or chunk != CHUNK or not 0 < length <= BINDING_BYTES:
            raise DamagedError(f"the sealed file has version {version}; version {VERSION} is understood")
        try:
            found = cls(named_key, salt, raw[_FIXED.size : _FIXED.size + length].decode())
        except UnicodeDecodeError as error:
            raise DamagedError("the sealed file's header is damaged") from error
        if found.encode() != raw[:HEADER_BYTES]:
            raise DamagedError("the sealed file's header is damaged")
        return found

    def encode(self) -> bytes:
        """Return the bytes of the header."""
        binding = self.binding.encode()
        fixed = _FIXED.pack(MAGIC, VERSION, CHUNK, self.key_id, self.salt, len(binding))
        return (fixed + binding).ljust(HEADER_BYTES, b"\0")


class Cipher:
    """Seals and opens the chunks of one file. Several threads may use it at once."""

    def __init__(self, header: Header, key: bytes) -> None:
        self._aead = AESGCM(HKDF(SHA256(), KEY_BYTES, header.salt, b"dubline sealed file").derive(key))
        self._header = header.encode()

    def seal(self, number: int, plain: bytes | bytearray | memoryview, kind: Kind, into: memoryview) -> None:
        """Write a chunk's frame, `len(plain) + OVERHEAD` bytes, into a buffer of that length."""
        nonce = os.urandom(NONCE_BYTES)
        into[:NONCE_BYTES] = nonce
        self._aead.encrypt_into(nonce, plain, self._place(number, len(plain), kind), into[NONCE_BYTES:])

    def open(self, number: int, frame: bytes | memoryview, kind: Kind) -> bytes:
        """Return a frame's plain text. Raises DamagedError."""
        length = len(frame) - OVERHEAD
        if length < 0:
            raise DamagedError(f"the sealed file ends within chunk {number}")
        place = self._place(number, length, kind)
        try:
            return self._aead.decrypt(bytes(frame[:NONCE_BYTES]), frame[NONCE_BYTES:], place)
        except InvalidTag as error:
            raise DamagedError(f"chunk {number} of the sealed file is not the one that was written") from error

    def opens(self, number: int, frame: bytes, kind: Kind) -> bytes | None:
        """Return a frame's plain text, None if it is not that chunk."""
        try:
            return self.open(number, frame, kind)
        except DamagedError:
            return None

    def _place(self, number: int, length: int, kind: Kind) -> bytes:
        return self._header + _PLACE.pack(number, length, kind)


def chunk_at(number: int) -> int:
    """Return where a chunk begins in the file."""
    return HEADER_BYTES + number * FRAME


def plain_size(sealed_size: int) -> int:
    """Return the plain length of a finished sealed file, by its length. Raises DamagedError for an impossible one."""
    whole, rest = divmod(sealed_size - HEADER_BYTES, FRAME)
    if sealed_size < HEADER_BYTES + OVERHEAD or 0 < rest < OVERHEAD:
        raise DamagedError("the sealed file is cut off")
    return whole * CHUNK + max(0, rest - OVERHEAD)


def sealed_size(size: int) -> int:
    """Return the length of the sealed file of so many plain bytes; an empty one has one empty chunk."""
    return HEADER_BYTES + size + OVERHEAD * max(1, -(-size // CHUNK))
