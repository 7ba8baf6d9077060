"""kill -9 at twenty places of the life of uploads, in real processes: what was acknowledged is there."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("kind", ["plain", "encrypted"])
def test_a_kill_at_any_call_loses_nothing_that_was_acknowledged(tmp_path: Path, kind: str):
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.ingest.uploads.crash_program", tmp_path, kind],
        cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    points = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(point["at"], point["wrong"]) for point in points if point["wrong"]] == []
    assert all(point["signal"] == signal.SIGKILL for point in points)
    assert len(points) == 20
    reached = {point["told"][0] for point in points if point["told"]}
    assert reached >= {"tus", "chunks", "completed"}, "the kills are spread over the whole life"
