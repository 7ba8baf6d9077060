"""`python -m tests.integration.worker.worker_program`: the real worker process, whose child runs `child_program`."""

import asyncio
from functools import partial

from services.worker import __main__ as worker
from services.worker.child_process import ChildProcess
from tests.integration.worker.child_program import CHILD

if __name__ == "__main__":
    asyncio.run(worker.serve(partial(ChildProcess, argv=CHILD)))
