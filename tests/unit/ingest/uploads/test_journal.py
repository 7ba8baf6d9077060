"""How much of an upload counts after a crash."""

import resource
from pathlib import Path

import pytest

from services.ingest.uploads.journal import Journal, Progress, begin_anew, read_progress
from services.ingest.uploads.record import Record

HERE, ELSEWHERE = "this-boot", "another-boot"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """One MB came, of which 600,000 bytes were made durable."""
    path = tmp_path / "up.journal"
    begin_anew(path, Progress(), HERE)
    opened = Journal(path)
    for offset in (200_000, 400_000, 600_000):
        opened.at(offset, (offset // 200_000 - 1, f"sha-{offset}"))
    opened.synced(600_000)
    opened.at(800_000, (3, "sha-800000"))
    opened.at(1_000_000)
    opened.close()
    return path


def test_no_journal_says_nothing(tmp_path: Path):
    assert read_progress(tmp_path / "none", 5, HERE) == Progress()


def test_after_a_kill_every_written_block_counts(journal: Path):
    found = read_progress(journal, 1_000_000, HERE)
    assert (found.offset, sorted(found.chunks)) == (1_000_000, [0, 1, 2, 3])


def test_after_a_power_cut_only_what_was_synced_counts(journal: Path):
    found = read_progress(journal, 1_000_000, ELSEWHERE)
    assert (found.offset, sorted(found.chunks)) == (600_000, [0, 1, 2])


def test_a_journal_never_names_bytes_that_are_not_there(journal: Path):
    assert read_progress(journal, 700_000, HERE).offset == 600_000
    assert read_progress(journal, 100, HERE).offset == 0


@pytest.mark.parametrize("cut", range(2, 40, 3))
def test_a_torn_line_ends_the_journal(journal: Path, cut: int):
    journal.write_bytes(journal.read_bytes()[:-cut])
    assert read_progress(journal, 1_000_000, HERE).offset in {600_000, 800_000}


def test_a_line_that_the_disk_has_no_room_for_leaves_none(journal: Path):
    """The kernel writes a part of it and no more; what is noted later is read all the same."""
    opened = Journal(journal)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.stat().st_size + 5, before[1]))
    try:
        with pytest.raises(OSError, match="No space left"):
            opened.at(1_100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    opened.at(1_200_000)
    opened.close()
    assert read_progress(journal, 1_200_000, HERE).offset == 1_200_000


def test_a_line_that_was_changed_ends_the_journal(journal: Path):
    journal.write_bytes(journal.read_bytes().replace(b"at 800000", b"at 900000"))
    assert read_progress(journal, 1_000_000, HERE).offset == 600_000


def test_a_journal_that_is_begun_anew_says_the_same_and_all_of_it_durable(journal: Path):
    found = read_progress(journal, 1_000_000, HERE)
    begin_anew(journal, found, HERE)
    assert read_progress(journal, 1_000_000, HERE) == found
    assert read_progress(journal, 1_000_000, ELSEWHERE) == found


def record(total: int) -> Record:
    return Record(
        upload_id="up_1", owner="u", title="t", total_bytes=total, chunk_bytes=100, created_at=0, expires_at=1
    )


def test_chunks_have_one_place_and_one_size():
    assert [record(250).chunk(index) for index in range(3)] == [(0, 100), (100, 100), (200, 50)]
    assert (record(250).total_chunks, record(300).total_chunks, record(0).total_chunks) == (3, 3, 0)
    for index in (-1, 3):
        with pytest.raises(IndexError):
            record(250).chunk(index)


@pytest.mark.parametrize(
    ("arrived", "missing"), [(0, [0, 1, 2]), (99, [0, 1, 2]), (100, [1, 2]), (249, [2]), (250, [])]
)
def test_a_chunk_is_missing_until_its_last_byte_is_there(arrived, missing):
    assert list(record(250).missing(arrived)) == missing
