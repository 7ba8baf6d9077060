"""A system that is shot at from all sides keeps every promise: nothing lost, nothing twice, no cap exceeded.

About a minute here; `make chaos` runs it longer (docs/chaos.md).
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.campaign import Report, run
from tests.chaos.conftest import TOLD, Chosen
from tests.dubbing_system import ROOT


@pytest.mark.timeout(1200)
async def test_a_system_under_fire_keeps_every_promise(
    tmp_path: Path, chosen: Chosen, record_property: Callable[[str, object], None]
) -> None:
    report = Report(chosen.seed)
    kept = ROOT / "build" / "chaos" / str(chosen.seed)
    try:
        await run(report, tmp_path, kept, faults=chosen.faults, seconds=chosen.seconds)
    finally:
        record_property(TOLD, str(report))
    assert not report.broken, f"faults, history and logs are in {kept}"
