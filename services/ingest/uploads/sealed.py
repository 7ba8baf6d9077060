"""Uploads that are encrypted at rest from their first byte on, each bound to its own id.

Lives here: a sealed file as a medium. Does not live here: the format and the keys (`shared.sealing`).
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from services.ingest.uploads.medium import FILE_MODE, READ_BLOCK, Media, PlainFiles
from shared.sealing.format import HEADER_BYTES
from shared.sealing.vault import Vault
from shared.sealing.writer import SealedWriter


class SealedFile:
    """An open sealed file; `services.ingest.uploads.medium.Writer`."""

    def __init__(self, fd: int, writer: SealedWriter) -> None:
        self._fd = fd
        self._writer = writer

    @property
    def offset(self) -> int:
        return self._writer.offset

    def append(self, data: bytes | memoryview) -> None:
        self._writer.append(data)

    def flush(self) -> None:
        self._writer.flush()

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def finish(self) -> None:
        self._writer.finish()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class SealedFiles:
    """Files that `vault` seals and opens. Every method also raises SealError."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def write(self, path: Path, upload_id: str, offset: int) -> SealedFile:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            if offset:
                writer = SealedWriter.resume(fd, self._vault.keys, upload_id)
                writer.cut(offset)
            else:  # also one that a crash left without a whole header
                os.ftruncate(fd, 0)
                writer = SealedWriter(fd, self._vault.keys, upload_id)
        except BaseException:
            os.close(fd)
            raise
        return SealedFile(fd, writer)

    def read(self, path: Path, upload_id: str) -> Iterator[bytes]:
        with self._vault.opened(path, upload_id) as reader:
            assert reader is not None
            for offset in range(0, reader.size, READ_BLOCK):
                yield reader.pread(offset, READ_BLOCK)

    def plain(self, path: Path, upload_id: str) -> AbstractContextManager[Path]:
        return self._vault.readable(path, upload_id, path.parent)

    def size(self, path: Path, upload_id: str) -> int:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            if os.fstat(fd).st_size < HEADER_BYTES:
                return 0
            return SealedWriter.resume(fd, self._vault.keys, upload_id).offset
        finally:
            os.close(fd)


def media_of(vault: Vault | None) -> Media:
    """Return the kinds of file that uploads of this installation are."""
    if vault is None:
        return Media(PlainFiles())
    return Media(PlainFiles(), SealedFiles(vault), vault.seals_uploads)
