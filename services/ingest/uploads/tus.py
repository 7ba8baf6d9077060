"""The headers of tus 1.0.0 (tus.io/protocols/resumable-upload), read and written.

Lives here: their syntax and what is refused. Pure. Does not live here: the routes (`routes.tus`).

Not offered: concatenation, because nothing here joins files and its URLs have been a way out of the upload folder
elsewhere (tuspyserver 93); a deferred length, because room is promised at creation; checksums in trailers.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from shared.problems import Problem

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,checksum,termination,expiration"
ALGORITHMS = ("sha256", "sha1")
"""SHA-1 is what tuspy sends, and finds damage on the way as well as any."""
CONTENT_TYPE = "application/offset+octet-stream"
CHECKSUM_MISMATCH = 460
METADATA_MAX_CHARS = 4096
NUMBER_MAX_DIGITS = 18
"""More could not be a file."""

_KEY = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Checksum:
    """What the bytes of a request have to be."""

    algorithm: str
    expected: bytes


def check_version(headers: Mapping[str, str]) -> None:
    """Raise Problem 412 unless the client speaks this version."""
    if headers.get("tus-resumable") != VERSION:
        detail = f"Send the header Tus-Resumable: {VERSION}."
        raise Problem(412, "tus_version", detail, headers={"Tus-Version": VERSION})


def upload_length(headers: Mapping[str, str]) -> int:
    """Return the size of an upload that is being created. Raises Problem 400."""
    if "upload-concat" in headers:
        raise Problem(400, "tus_unsupported", "Uploads cannot be joined here. Send the file as one upload.")
    if "upload-defer-length" in headers:
        raise Problem(400, "tus_unsupported", "The size must be known at creation. Send Upload-Length.")
    return _number(headers, "Upload-Length")


def upload_offset(headers: Mapping[str, str]) -> int:
    """Return where a request goes on. Raises Problem 400."""
    return _number(headers, "Upload-Offset")


def _number(headers: Mapping[str, str], name: str) -> int:
    text = headers.get(name.lower(), "")
    if not (text.isascii() and text.isdigit() and len(text) <= NUMBER_MAX_DIGITS):
        raise Problem(400, "tus_header", f"The header {name} is missing, or not a number of bytes.")
    return int(text)


def metadata_of(header: str) -> dict[str, str]:
    """Return what `Upload-Metadata` says, which may be nothing: tuspy sends it empty. Raises Problem 400."""
    if len(header) > METADATA_MAX_CHARS:
        raise Problem(400, "tus_metadata", f"Upload-Metadata is longer than {METADATA_MAX_CHARS} characters.")
    found: dict[str, str] = {}
    for pair in header.split(",") if header.strip() else ():
        key, _, value = pair.strip().partition(" ")
        try:
            text = base64.b64decode(value.strip(), validate=True).decode("utf-8", errors="replace")
        except (binascii.Error, ValueError) as error:
            raise Problem(400, "tus_metadata", "A value in Upload-Metadata is not Base64.") from error
        if not _KEY.fullmatch(key) or key in found:
            raise Problem(400, "tus_metadata", "A key in Upload-Metadata is empty, not ASCII, or there twice.")
        found[key] = text
    return found


def checksum_of(header: str | None) -> Checksum | None:
    """Return what `Upload-Checksum` asks for. Raises Problem 400 for an unknown algorithm or a digest that is none."""
    if header is None:
        return None
    algorithm, _, value = header.partition(" ")
    if algorithm not in ALGORITHMS:
        raise Problem(400, "tus_checksum", f"Checksums are of {' or '.join(ALGORITHMS)}.")
    try:
        expected = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(400, "tus_checksum", "The digest in Upload-Checksum is not Base64.") from error
    if len(expected) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise Problem(400, "tus_checksum", f"The digest in Upload-Checksum is not one of {algorithm}.")
    return Checksum(algorithm, expected)


def check_content_type(headers: Mapping[str, str]) -> None:
    """Raise Problem 415 unless the body is said to be bytes at an offset."""
    if headers.get("content-type", "").split(";")[0].strip().lower() != CONTENT_TYPE:
        raise Problem(415, "unsupported_body", f"Send the bytes with Content-Type: {CONTENT_TYPE}.")
