"""Many seeds on all cores, at idle priority: `python -m tests.simulation.run [OUTCOME]`; it exits with 1 if one fails.

With OUTCOME what it tells goes into that file, which appears whole, and at the end, whatever happens.

One again: `DUBLINE_SEED=123 python -m tests.simulation.run` tells its history.
"""

import contextlib
import gc
import os
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from shared.niceness import AUTOGROUP
from tests.simulation.world import Outcome, simulate

SEEDS = int(os.environ.get("DUBLINE_SEEDS", "10000"))
HOLD = f"{SEEDS} seeds hold"
PROCESSES = len(os.sched_getaffinity(0))
BATCH = 50
LEAST = 19


def first_failure(seeds: range) -> str | None:
    """Return the story of the first seed of these that breaks a promise."""
    gc.disable()  # what a run leaves behind is collected once a batch, which is faster
    story = next((story for seed in seeds if (story := failure_of(seed))), None)
    gc.collect()
    return story


def failure_of(seed: int) -> str | None:
    """Return what went wrong with a seed, and how to see it again."""
    try:
        outcome: Outcome = simulate(seed)
    except Exception as error:
        error.add_note(f"replay: DUBLINE_SEED={seed} python -m tests.simulation.run")
        raise
    return outcome.story() if outcome.found else None


def failures(first: int, count: int, processes: int) -> Iterator[str]:
    """Run `count` seeds on so many processes; yield the story of each batch's first failure."""
    batches = [range(start, min(start + BATCH, first + count)) for start in range(first, first + count, BATCH)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for story in pool.map(first_failure, batches):
            if story is not None:
                yield story


def main() -> int:
    """Return the exit code."""
    if "DUBLINE_SEED" in os.environ:
        told = simulate(int(os.environ["DUBLINE_SEED"]))
        sys.stdout.write(told.story(around=len(told.records)) + "\n")
        return 0
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            AUTOGROUP.write_text(str(LEAST))
    story: str | None = "it was cut off"
    try:
        story = next(failures(0, SEEDS, PROCESSES), None)
    except Exception:
        story = traceback.format_exc()
        raise
    finally:
        _tell(story or HOLD)
    return 1 if story else 0


def _tell(text: str) -> None:
    if len(sys.argv) < 2:
        sys.stdout.write(f"{text}\n")
        return
    written = Path(f"{sys.argv[1]}.part")
    written.write_text(text)
    written.rename(sys.argv[1])


if __name__ == "__main__":
    sys.exit(main())
