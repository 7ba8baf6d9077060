"""The ten thousand seeds run on what the processors have left while other tests wait for brokers, engines and browsers.

Lives here: starting them with a whole test run, and ending them with it. Does not live here: what is asked of them
(`test_simulation`, which comes last and waits for the rest). Alone, the test runs them itself.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.simulation.run import SEEDS

WHOLE_RUN = 500
"""So many collected tests are a whole run, with much waiting in it."""

_background = pytest.StashKey[subprocess.Popen[str]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    wanted = any(item.name == "test_every_promise_holds_in_every_simulated_history" for item in session.items)
    if wanted and len(session.items) >= WHOLE_RUN and not session.config.option.collectonly:
        session.config.stash[_background] = subprocess.Popen(
            [sys.executable, "-m", "tests.simulation.run"],
            cwd=session.config.rootpath,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "DUBLINE_SEEDS": str(SEEDS)},
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    running = session.config.stash.get(_background, None)
    if running is not None and running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


@pytest.fixture
def background(pytestconfig: pytest.Config) -> Iterator["subprocess.Popen[str] | None"]:
    """The run that began with this session, if it is a whole one."""
    running = pytestconfig.stash.get(_background, None)
    yield running
    if running is not None and running.stdout is not None:
        running.stdout.close()
