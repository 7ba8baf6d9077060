"""The ten thousand seeds run on what the processors have left while other tests wait for brokers, engines and browsers.

Lives here: starting them with a whole test run, and ending them with it. Does not live here: what is asked of them
(`test_simulation`, which comes last and waits for the rest). Alone, the test runs them itself.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

OUTCOME = "DUBLINE_SIMULATION_OUTCOME"
"""Names the file that the background run writes at its end; the processes of a parallel test run inherit it."""

_background = pytest.StashKey[subprocess.Popen[bytes]]()


def pytest_configure(config: pytest.Config) -> None:
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if hasattr(config, "workerinput") or config.option.collectonly or not whole:
        return
    outcome = Path(tempfile.mkdtemp(prefix="dubline-simulation-")) / "outcome"
    os.environ[OUTCOME] = str(outcome)
    command = [sys.executable, "-m", "tests.simulation.run", str(outcome)]
    config.stash[_background] = subprocess.Popen(command, cwd=config.rootpath, start_new_session=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    running = config.stash.get(_background, None)
    if running is not None and running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


@pytest.fixture
def outcome() -> Path | None:
    """Where the run that began with this session tells how it ended, if it is a whole one."""
    return Path(os.environ[OUTCOME]) if OUTCOME in os.environ else None
