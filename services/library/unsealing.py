"""Serving files that are encrypted at rest: their plain bytes, length and digest, never the bytes on the disk.

Lives here: from an open file to one whose plain bytes are read. Does not live here: the format (`shared.sealing`),
sending (`sending`).
"""

import os
from dataclasses import replace
from pathlib import Path

import structlog

from services.library.files import OpenFile
from shared.problems import Problem
from shared.sealing.format import SealError
from shared.sealing.reader import SealedReader, is_sealed
from shared.sealing.vault import Vault

log = structlog.get_logger()


def revealed(opened: OpenFile, path: Path, vault: Vault | None, sha256: str | None) -> OpenFile:
    """Return the file as it is to be served; it is closed if that is not possible.

    `sha256` is the recorded digest of the plain bytes, None where nothing is recorded: a sealed file must be the one
    with this content. Blocks. Raises Problem 500 for one that cannot be opened (its key is gone, it was changed).
    """
    try:
        if not is_sealed(opened.fd):
            return opened
        reader = _reader(opened.fd, path, vault, sha256)
    except SealError as error:
        os.close(opened.fd)
        log.error("sealed_file_unreadable", path=str(path), error=str(error))
        detail = "The file is encrypted at rest and cannot be opened here; the service's log says why."
        raise Problem(500, "file_unreadable", detail) from error
    except OSError:
        os.close(opened.fd)
        raise
    return replace(opened, size=reader.size, sealed=reader)


def _reader(fd: int, path: Path, vault: Vault | None, sha256: str | None) -> SealedReader:
    if vault is None:
        raise SealError("there is no key of encryption at rest")
    return SealedReader(fd, vault.keys, vault.binding_of(path, sha256) if sha256 else None)
