"""A process that removes the files of deleted jobs, as the library does, and is killed before its n-th change (tests).

`python -m tests.integration.library.deleter_program BROKER_URL DATA_DIR N` follows the log from where it last was done.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from services.library.committed import Committed
from services.library.deletion import Deleter
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.layout import Layout
from shared.settings import Settings

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}


def die_before_change(number: int) -> None:
    """Kill this process, with no chance to clean up, right before it changes the file system for the n-th time."""
    left = number

    def hook(name: str, _: tuple[object, ...]) -> None:
        nonlocal left
        left -= name in CHANGES
        if name in CHANGES and left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


async def main(url: str, data: Path, changes: int) -> None:
    client = await connect(Settings(nats_url=url), "deleter")
    log, position = JetStreamEventLog(client), data / "position"
    after = int(position.read_text()) if position.exists() else 0

    async def finished(seq: int) -> None:
        position.write_text(str(seq))

    deleter = Deleter(Layout(data), log, finished, after=after)
    running = asyncio.create_task(deleter.run())
    die_before_change(changes)
    async for batch in log.follow(after=after):
        deleter.offer(Committed(batch))
    await running


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
