"""Every upload that there is: in memory, and as files that say the same after a crash.

Lives here: finding one, and each change of a record, which is on the disk before it is in force. The blocking half of
`uploads`, which decides. Does not live here: whose turn it is, and what the log hears.
"""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic import ValidationError

from services.ingest.storage import disk_errors, disk_full
from services.ingest.uploads.medium import Media
from services.ingest.uploads.received import Received
from services.ingest.uploads.record import Record
from shared.artifacts import write_bytes
from shared.layout import Layout
from shared.sealing.format import SealError

log = structlog.get_logger()


@dataclass
class Upload:
    """One upload. `told`: the log has heard of its state."""

    record: Record
    received: Received
    told: bool = False
    claim: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a submission tries to make it a job's source."""
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and put anew, when somebody begins to write; for chunks that wait."""
    waiting: int = 0

    @property
    def id(self) -> str:
        return self.record.upload_id

    @property
    def is_open(self) -> bool:
        """Whether it takes room of its user's: it is neither a job's source nor gone."""
        return self.record.state in ("receiving", "complete")

    @property
    def offset(self) -> int:
        """How many bytes are acknowledged."""
        return self.received.offset if self.record.state == "receiving" else self.record.total_bytes


class Store:
    """The uploads of one data directory. Everything but `get`, `all` and `forget` blocks, and raises OSError."""

    def __init__(
        self, layout: Layout, media: Media, min_free_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._layout = layout
        self.media = media
        self._min_free_bytes = min_free_bytes
        self._uploads: dict[str, Upload] = {}
        self.clock = clock

    def get(self, upload_id: str) -> Upload | None:
        return self._uploads.get(upload_id)

    def all(self) -> list[Upload]:
        return list(self._uploads.values())

    def free(self) -> int:
        """Return the free bytes of the disk."""
        return shutil.disk_usage(self._layout.uploads).free

    def load(self) -> Iterator[Upload]:
        """Find what an earlier process left; each upload is yielded once it is known here."""
        self._layout.uploads.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._layout.uploads.glob("up_*.upload.json")):
            try:
                record = Record.model_validate_json(path.read_bytes())
            except ValidationError:
                log.error("upload_record_undecodable", file=path.name)  # a newer version's: left alone
                continue
            try:
                upload = Upload(record, self._received(record))
            except (OSError, SealError) as error:  # its key is not here now, or it was tampered with
                log.error("upload_unreadable", upload_id=record.upload_id, error=str(error))
                continue
            if record.state in ("used", "removed"):
                self.discard(upload)
            self._uploads[upload.id] = upload
            yield upload

    def make(self, record: Record) -> Upload:
        """Begin an upload: its record first, so that no file is ever nobody's. Raises Problem 507."""
        with disk_errors():
            self._layout.uploads.mkdir(parents=True, exist_ok=True)
            self._write(record)
            upload = Upload(record, self._received(record))
        self._uploads[upload.id] = upload
        return upload

    def change(self, upload: Upload, **changes: Any) -> None:
        """Give an upload another record. Raises Problem 507."""
        record = upload.record.model_copy(update=changes)
        with disk_errors():
            self._write(record)
        upload.record, upload.told = record, False

    def discard(self, upload: Upload) -> None:
        """Remove the bytes of an upload, whose record says so already."""
        upload.received.discard()

    def drop(self, upload: Upload) -> None:
        """Remove the record too."""
        self.discard(upload)
        self._layout.upload_record(upload.id).unlink(missing_ok=True)

    def forget(self, upload: Upload) -> None:
        self._uploads.pop(upload.id, None)

    def is_settled(self, upload: Upload) -> bool:
        """Return whether no submission of it is left half done (`services.ingest.intents`)."""
        return not self._layout.upload_intent(upload.id).exists()

    def has_bytes(self, upload: Upload) -> bool:
        """Return whether its file is still here, and not a job's source."""
        return upload.received.path.exists()

    def _received(self, record: Record) -> Received:
        return Received(self._layout, record, self.media.of(sealed=record.sealed), self._check_floor)

    def _check_floor(self) -> None:
        if self.free() < self._min_free_bytes:
            raise disk_full()

    def _write(self, record: Record) -> None:
        write_bytes(self._layout.upload_record(record.upload_id), record.model_dump_json(exclude_none=True).encode())
