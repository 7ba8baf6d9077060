"""What may happen to the projector: kill -9 anywhere in a batch or a take-over, a full disk, a disk that fails.

Afterwards jobs.db equals a clean replay, and while the disk fails, reads answer with whole old rows.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def drive(*arguments: object, preload: Path | None = None) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.integration.library.projector_driver", *map(str, arguments)]
    environment = os.environ | ({"LD_PRELOAD": str(preload)} if preload else {})
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result | {"stderr": done.stderr}


@pytest.mark.parametrize(("scenario", "at_least"), [("follow", 25), ("taken over", 30), ("new", 15)])
def test_e5_killed_at_every_step_it_ends_as_a_clean_replay(tmp_path: Path, scenario: str, at_least: int) -> None:
    found = drive("kills", tmp_path, scenario)
    assert found["different"] == [], found
    assert found["points"] >= at_least


@pytest.fixture(scope="module")
def disk_faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler for the library that makes writes fail")
    library = tmp_path_factory.mktemp("faults") / "disk_faults.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, HERE / "disk_faults.c", "-ldl"], check=True)
    return library


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
@pytest.mark.parametrize(("first", "count"), [(1, 1), (2, 30), (9, 7)])
def test_while_the_disk_fails_reads_answer_and_afterwards_nothing_is_missing(
    disk_faults: Path, tmp_path: Path, number: int, first: int, count: int
) -> None:
    found = drive("disk", tmp_path, number, first, count, preload=disk_faults)
    assert (found["ended"], found.get("torn"), found["same"]) == (0, [], True), found
    assert found["met"] == count, "every fault was met"
