"""Videos are examined once, and a queue of them waits its turn: with the real check, of real files."""

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ingest.checks import WAITING_EACH, Checks
from services.ingest.settings import IngestSettings
from shared.problems import Problem

CHECK_S = 120.0


@pytest.fixture
def checks(tmp_path: Path) -> Checks:
    return Checks(IngestSettings(data_dir=tmp_path).media_limits, CHECK_S)


class Films:
    """Gives a path to a file, and counts how often somebody opened it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self.opened = 0

    @contextlib.contextmanager
    def plain(self) -> Iterator[Path]:
        self.opened += 1
        yield self.path


async def test_fifty_at_once_with_the_same_bytes_cost_two_checks(checks: Checks, video: Path) -> None:
    film = Films(video)
    found = await asyncio.gather(*(checks.examined(f"u_{n % 5}", film.plain(), film.sha256) for n in range(50)))
    assert film.opened == 2, "as many as had a turn before anything was known"
    assert len(set(map(repr, found))) == 1
    assert found[0].duration_s > 1
    assert checks.known(film.sha256) == found[0]


async def test_bytes_that_nobody_counted_are_examined_each_time(checks: Checks, video: Path) -> None:
    film = Films(video)
    for _ in range(2):
        await checks.examined("u", film.plain())
    assert film.opened == 2


async def test_a_file_that_is_refused_is_examined_again(checks: Checks, tmp_path: Path) -> None:
    """It may have been the machine's fault: a disk that was full, a check that took too long."""
    (tmp_path / "text.mp4").write_text("no video")
    film = Films(tmp_path / "text.mp4")
    for _ in range(2):
        with pytest.raises(Problem) as refusal:
            await checks.examined("u", film.plain(), film.sha256)
        assert refusal.value.code == "not_a_video"
    assert film.opened == 2


async def test_only_where_there_is_no_hope_one_is_sent_away_and_told_when_to_come_back(checks: Checks) -> None:
    async with checks.turn("somebody"), checks.turn("else"):
        waiting = [asyncio.create_task(stand(checks)) for _ in range(WAITING_EACH)]
        await asyncio.sleep(0)
        with pytest.raises(Problem) as refusal:
            await stand(checks)
        assert (refusal.value.status, refusal.value.code) == (503, "too_many_checks")
        assert refusal.value.headers == {"Retry-After": "60"}
    await asyncio.gather(*waiting)


async def stand(checks: Checks) -> None:
    async with checks.turn("eager"):
        await asyncio.sleep(0)
