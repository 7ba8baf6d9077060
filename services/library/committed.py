"""What the parts of the library hear of a batch once jobs.db has it.

Lives here: the value. Does not live here: who makes it (`projection`) and who hears it (`service`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.eventlog.port import Recorded
from shared.job.model import Job


@dataclass(frozen=True)
class Committed:
    """A batch of the log. After a restart some come again, as `jobs` of the newest state and without `rows`."""

    batch: Sequence[Recorded]
    jobs: Sequence[Job] = ()
    """Every job that the batch is about and that is not deleted, as it is after the batch."""
    rows: Mapping[str, bytes] = field(default_factory=dict)
    """The new row, JSON text, of each job whose row the batch changed."""

    @property
    def seq(self) -> int:
        """The sequence of the last event."""
        return self.batch[-1].seq
