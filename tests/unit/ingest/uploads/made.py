"""The uploads of one data directory, in front of a log in memory, and request bodies for them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from services.ingest.settings import IngestSettings
from services.ingest.uploads.medium import PLAIN, Media
from services.ingest.uploads.record import Wanted
from services.ingest.uploads.store import Store, Upload
from services.ingest.uploads.uploads import Uploads
from shared.access.principal import Principal
from shared.eventlog.memory import MemoryEventLog
from shared.eventlog.port import EventLog, LogUnavailableError
from shared.metrics import Registry
from shared.runtime_state import AdmitRequest
from tests.principals import principal

ALICE, BOB, ADMIN = principal("u_alice"), principal("u_bob"), principal("u_admin", "admin")
CHUNK = 256 << 10


class Clock:
    """Seconds that a test moves."""

    def __init__(self, now: float = 1_900_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Broker:
    """A log that may be away."""

    def __init__(self, log: MemoryEventLog | None = None) -> None:
        self.log = log or MemoryEventLog()
        self.away = False

    def __call__(self) -> EventLog:
        if self.away:
            raise LogUnavailableError("away")
        return self.log

    @property
    def types(self) -> list[str]:
        return [record.event.type.split(".")[2] for record in self.log.records if record.event]


async def admit_all(_asked: AdmitRequest) -> None:
    """Answer as a scheduler where nobody's storage is limited."""


def uploads_at(
    data: Path,
    broker: Broker | None = None,
    clock: Clock | None = None,
    media: Media = PLAIN,
    admit: Callable[[AdmitRequest], Awaitable[None]] = admit_all,
    registry: Registry | None = None,
    **settings: object,
) -> Uploads:
    """Return what an ingest that starts on this directory has."""
    made = IngestSettings(**({"data_dir": data, "min_free_gb": 0, "upload_chunk_bytes": CHUNK} | settings))
    store = Store(made.layout, media, made.min_free_bytes, clock or Clock())
    found = Uploads(made, broker or Broker(), store, admit, registry or Registry())
    found.load()
    return found


async def begun(uploads: Uploads, size: int, who: Principal = ALICE, *, in_chunks: bool = False) -> Upload:
    return await uploads.create(Wanted("film.mp4", size, ends_on_request=in_chunks), who.user)


async def body(*pieces: bytes, error: BaseException | None = None) -> AsyncIterator[bytes]:
    """Yield a request's body; with `error`, it breaks off."""
    for piece in pieces:
        yield piece
    if error is not None:
        raise error


def pieces_of(data: bytes, size: int = CHUNK) -> Sequence[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]
