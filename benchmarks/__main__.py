"""`python -m benchmarks`: run every benchmark, print the table, write build/bench.json."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import (
    decision,
    demo_job,
    eta,
    files,
    library_http,
    library_store,
    orchestration,
    projection,
    responsiveness,
    scheduler_start,
    sealing,
    sse,
    upload,
)
from benchmarks.rows import Row, show, write
from benchmarks.signed_in import local_key
from shared.telemetry import configure_logging

BENCHMARKS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "projection": projection.rows,
    "library_store": library_store.rows,
    "library_http": library_http.rows,
    "files": files.rows,
    "sealing": sealing.rows,
    "sse": sse.rows,
    "orchestration": orchestration.rows,
    "decision": decision.rows,
    "scheduler_start": scheduler_start.rows,
    "responsiveness": responsiveness.rows,
    "demo_job": demo_job.rows,
    "eta": eta.rows,
    "upload": upload.rows,
}
OUTPUT = Path("build") / "bench.json"


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all of them. Raises KeyError for a name that there is not."""
    configure_logging("bench", "ERROR")
    local_key()  # before anything is started
    measured = []
    for name in names or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="dubline-bench-") as directory:
            measured += list(BENCHMARKS[name](Path(directory)))
    show(measured)
    write(measured, OUTPUT)
    print(f"written to {OUTPUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
