"""Celery with Redis: a job is a chain of no-op tasks, acknowledged late, fetched one at a time.

Lives here: the application that the worker loads, and the client (`python -m benchmarks.peers.celery_peer`). Only the
last task of a chain keeps a result, because its end has to be seen; the others are spared it.
"""

import json
import os
import sys
import time
from typing import Any

from celery import Celery, chain  # type: ignore[import-not-found]

TIMEOUT_S = 60.0

app = Celery("peer", broker=os.environ["PEER_URL"], backend=os.environ["PEER_URL"])
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)


def _nothing() -> None:
    """The work of a no-op task."""


step = app.task(_nothing, name="step", ignore_result=True)
last = app.task(_nothing, name="last")


def submit(stages: int) -> Any:
    """Send one job and return the result of its last task."""
    return chain(*[step.si()] * (stages - 1), last.si()).apply_async()


def run(jobs: int, stages: int, at_once: bool) -> dict[str, Any]:
    """Run jobs, all at once or one after the other."""
    started = time.perf_counter()
    latencies = []
    if at_once:
        results = [submit(stages) for _ in range(jobs)]
        for result in results:
            result.get(timeout=TIMEOUT_S)
    else:
        for _ in range(jobs):
            sent = time.perf_counter()
            submit(stages).get(timeout=TIMEOUT_S)
            latencies.append(time.perf_counter() - sent)
    return {"seconds": time.perf_counter() - started, "latencies": latencies}


def main() -> None:
    """Answer requests until stdin closes."""
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
