"""How a run under fire is chosen and reported: CHAOS_SECONDS, CHAOS_FAULTS and CHAOS_SEED, and the terminal."""

import os
import secrets
from dataclasses import dataclass

import pytest

from tests.chaos.campaign import Report

REPORTS = pytest.StashKey[list[Report]]()


@dataclass(frozen=True)
class Chosen:
    """What `make test` runs unless the environment says otherwise; the seed differs each time."""

    seconds: float
    faults: int
    seed: int


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORTS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for report in config.stash[REPORTS]:
        terminalreporter.section("chaos")
        terminalreporter.write_line(str(report))


@pytest.fixture(scope="session")
def chosen() -> Chosen:
    return Chosen(
        seconds=float(os.environ.get("CHAOS_SECONDS") or 40),
        faults=int(os.environ.get("CHAOS_FAULTS") or 25),
        seed=int(os.environ.get("CHAOS_SEED") or secrets.randbits(32)),
    )


@pytest.fixture
def reports(request: pytest.FixtureRequest) -> list[Report]:
    """Whatever is put here is printed at the end of the session, passed or not."""
    return request.config.stash[REPORTS]
