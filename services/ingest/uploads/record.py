"""What is known of one upload, from its being asked for on: a small file beside its bytes, written whole, rarely.

Lives here: its members and the chunk geometry that follows from them. Pure. Does not live here: how much has arrived
(`journal`), which changes with every block.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

State = Literal["receiving", "complete", "used", "removed"]
Reason = Literal["terminated", "expired", "refused"]


@dataclass(frozen=True)
class Wanted:
    """An upload as asked for; the members are those of `Record`."""

    title: str
    total_bytes: int
    ends_on_request: bool
    mime: str = ""
    metadata: str = ""
    expected_sha256: str | None = None


class Record(BaseModel):
    """Sizes are plain bytes, times Unix seconds."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    upload_id: str
    owner: str
    title: str
    total_bytes: int
    chunk_bytes: int
    created_at: float
    expires_at: float
    ends_on_request: bool = False
    """Complete when the client says so (`complete`), not by its last byte."""
    metadata: str = ""
    """`Upload-Metadata` as it was sent; tus wants it back."""
    mime: str = ""
    expected_sha256: str | None = None
    sealed: bool = False
    state: State = "receiving"
    sha256: str | None = None
    job_id: str | None = None
    """The job that it was used for, where that is known."""
    reason: Reason | None = None
    removed_by: str = ""

    @property
    def total_chunks(self) -> int:
        """How many chunks it is made of; an empty file of none."""
        return -(-self.total_bytes // self.chunk_bytes)

    def chunk(self, index: int) -> tuple[int, int]:
        """Return the offset and the size of a chunk. Raises IndexError for one that it does not have."""
        if not 0 <= index < self.total_chunks:
            raise IndexError(index)
        offset = index * self.chunk_bytes
        return offset, min(self.chunk_bytes, self.total_bytes - offset)

    def missing(self, arrived: int) -> range:
        """Return the chunks that are not whole while `arrived` bytes are there."""
        whole = self.total_chunks if arrived >= self.total_bytes else arrived // self.chunk_bytes
        return range(whole, self.total_chunks)
