"""`python -m benchmarks`: run every benchmark, print the table, write build/bench.json."""

import sys
import tempfile
from pathlib import Path

from benchmarks import demo_job, projection
from benchmarks.rows import show, write

BENCHMARKS = {"projection": projection.rows, "demo_job": demo_job.rows}
OUTPUT = Path("build") / "bench.json"


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all of them."""
    measured = []
    for name in names or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="dubline-bench-") as directory:
            measured += list(BENCHMARKS[name](Path(directory)))
    show(measured)
    write(measured, OUTPUT)
    print(f"written to {OUTPUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
