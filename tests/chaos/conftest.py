"""How a run under fire is chosen and reported: CHAOS_SECONDS, CHAOS_FAULTS and CHAOS_SEED, and the terminal."""

import os
import secrets
from dataclasses import dataclass

import pytest

TOLD = "chaos"
"""A property that a test records under this name is printed at the end of the session, passed or not."""


@dataclass(frozen=True)
class Chosen:
    """What `make test` runs unless the environment says otherwise; the seed differs each time."""

    seconds: float
    faults: int
    seed: int


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for ended in ("passed", "failed"):
        for report in terminalreporter.stats.get(ended, []):
            for name, told in getattr(report, "user_properties", ()):
                if name == TOLD:
                    terminalreporter.section("chaos")
                    terminalreporter.write_line(str(told))


@pytest.fixture(scope="session")
def chosen() -> Chosen:
    return Chosen(
        seconds=float(os.environ.get("CHAOS_SECONDS") or 40),
        faults=int(os.environ.get("CHAOS_FAULTS") or 25),
        seed=int(os.environ.get("CHAOS_SEED") or secrets.randbits(32)),
    )
