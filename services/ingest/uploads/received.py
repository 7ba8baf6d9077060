"""The bytes of one upload: appended, hashed on the way, and counted once they are written.

Lives here: what one request may do to them, one request at a time (`turns`). Everything here blocks and runs in worker
threads. Does not live here: where bytes go (`medium`), and what becomes of a complete upload (`uploads`).

What an acknowledged byte survives: the death of this process, always. A power cut: all but the last 64 MiB; a client
asks for the offset before it goes on, and is then told a lower one.
"""

import hashlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from services.ingest.storage import disk_errors
from services.ingest.uploads.journal import Journal, begin_anew, read_progress, this_boot
from services.ingest.uploads.medium import Medium, Writer
from services.ingest.uploads.record import Record
from shared.layout import Layout

SYNC_EVERY_BYTES = 64 << 20
"""At 250 MB/s a flush each quarter of a second, which costs a tenth of the speed on a busy disk."""
FLOOR_EVERY_BYTES = 64 << 20
"""Free space is looked at again after so many bytes."""


class Received:
    """What has arrived of one upload. `offset` bytes are acknowledged: it never goes back, and they are on the disk.

    `begin`, any number of `write`, `keep` if all of them count, `end`: in this order, `end` always.
    """

    def __init__(self, layout: Layout, record: Record, medium: Medium, check_floor: Callable[[], None]) -> None:
        """Continue where the files are. Raises OSError."""
        self.path: Path = layout.upload_bytes(record.upload_id)
        self._upload_id = record.upload_id
        self._journal_path = layout.upload_journal(record.upload_id)
        self._medium = medium
        self._check_floor = check_floor
        self._progress = read_progress(self._journal_path, medium.size(self.path, record.upload_id), this_boot())
        self._synced = self._floor_at = self._progress.offset
        self._hash = hashlib.sha256() if self.offset == 0 else None
        """None: it lacks bytes from before a restart or a full disk, and all of them are read again at the end."""
        self._writer: Writer | None = None
        self._journal: Journal | None = None
        self._whole = False
        if record.state == "receiving":
            self._settle()

    @property
    def offset(self) -> int:
        return self._progress.offset

    @property
    def chunks(self) -> dict[int, str]:
        """The SHA-256 of the chunks that came whole, by index."""
        return self._progress.chunks

    def begin(self, *, whole: bool) -> None:
        """Go on at `offset`. `whole`: nothing counts until `keep`, and without it all is gone again.

        Raises Problem 507, OSError.
        """
        self._whole = whole
        self._before = self._hash.copy() if self._hash is not None else None
        with disk_errors():
            self._journal = Journal(self._journal_path)
            self._writer = self._open()

    def write(self, data: bytes) -> None:
        """Append, hash and count. Raises Problem 507, OSError: then what counted before still does."""
        assert self._writer is not None
        running, self._hash = self._hash, None
        with disk_errors():
            if self._writer.offset >= self._floor_at:
                self._check_floor()
                self._floor_at = self._writer.offset + FLOOR_EVERY_BYTES
            self._writer.append(data)
            if running is not None:
                running.update(data)
            if not self._whole:
                self._count()
        self._hash = running

    def keep(self, chunk: tuple[int, str] | None = None) -> None:
        """Let all that was written count; `chunk`: it is this one, with this SHA-256. Raises Problem 507, OSError."""
        assert self._writer is not None
        with disk_errors():
            self._writer.flush()
            self._count(chunk)
        self._whole = False

    def end(self) -> None:
        """Close the files. Harmless where `begin` failed. Raises Problem 507, OSError."""
        writer, journal = self._writer, self._journal
        try:
            if writer is not None and self._whole:
                self._hash = self._before
            elif writer is not None:
                with disk_errors():
                    writer.flush()
                    if writer.offset > self.offset:
                        self._count()
        finally:
            for opened in (writer, journal):
                if opened is not None:
                    opened.close()
            self._writer = self._journal = self._before = None

    def sha256(self) -> str:
        """Make all bytes durable and return their digest; after a restart they are read again.

        Raises Problem 507, OSError.
        """
        with disk_errors(), closing(self._open()) as writer:
            writer.finish()
        if self._hash is None:
            self._hash = hashlib.sha256()
            for block in self._medium.read(self.path, self._upload_id):
                self._hash.update(block)
        return self._hash.hexdigest()

    def discard(self) -> None:
        """Leave no byte. Raises OSError."""
        self.path.unlink(missing_ok=True)
        self._journal_path.unlink(missing_ok=True)

    def _open(self) -> Writer:
        return self._medium.write(self.path, self._upload_id, self.offset)

    def _count(self, chunk: tuple[int, str] | None = None) -> None:
        assert self._writer is not None
        assert self._journal is not None
        offset = self._writer.offset
        self._journal.at(offset, chunk)
        self._progress.offset = offset
        if chunk is not None:
            self._progress.chunks[chunk[0]] = chunk[1]
        if offset - self._synced >= SYNC_EVERY_BYTES:
            self._writer.sync()
            self._journal.synced(offset)
            self._synced = offset

    def _settle(self) -> None:
        """Make what was found durable, and begin a journal that says only that: the old one may say more."""
        with closing(self._open()) as writer:
            writer.sync()
        begin_anew(self._journal_path, self._progress, this_boot())
