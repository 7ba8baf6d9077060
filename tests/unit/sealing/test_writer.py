"""A sealed file that is killed while it grows keeps every byte that was flushed."""

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.sealing import writer as writers
from shared.sealing.format import CHUNK, HEADER_BYTES, DamagedError, chunk_at
from shared.sealing.reader import SealedReader
from shared.sealing.writer import SealedWriter
from tests.unit.sealing.test_format import BINDING, KEYS, content


class KilledError(Exception):
    """The process dies here."""


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "sealed", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def resumed(fd: int) -> tuple[SealedWriter, bytes]:
    """Return a writer that goes on, and the plain bytes that are there: what a copy has that is finished at once."""
    with tempfile.TemporaryFile() as copy:
        copy.write(os.pread(fd, os.fstat(fd).st_size, 0))
        copy.flush()
        ended = SealedWriter.resume(copy.fileno(), KEYS, BINDING)
        ended.finish()
        reader = SealedReader(copy.fileno(), KEYS, BINDING)
        found = bytes(reader.pread(0, reader.size))
    writer = SealedWriter.resume(fd, KEYS, BINDING)
    assert writer.offset == writer.size == len(found)
    return writer, found


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.integers(0, 2 * CHUNK + 5), max_size=8))
def test_an_upload_may_be_resumed_at_any_byte(fd: int, steps: list[int]) -> None:
    os.ftruncate(fd, 0)
    plain = content(sum(steps))
    SealedWriter(fd, KEYS, BINDING)
    at = 0
    for step in steps:
        writer, found = resumed(fd)
        assert found == plain[:at]
        writer.append(plain[at : at + step])
        writer.flush()
        at += step
    writer, found = resumed(fd)
    assert found == plain
    writer.finish()
    assert SealedReader(fd, KEYS, BINDING).pread(0, len(plain) + 1) == plain


def test_without_a_flush_what_fills_no_chunk_is_held_back_and_offset_says_so(fd: int) -> None:
    writer = SealedWriter(fd, KEYS, BINDING)
    writer.append(content(CHUNK + 10))
    assert (writer.offset, writer.size) == (CHUNK, CHUNK + 10)
    assert resumed(fd)[1] == content(CHUNK + 10)[:CHUNK]
    writer.sync()
    assert writer.offset == writer.size == CHUNK + 10


@pytest.mark.parametrize("seed", range(4))
def test_every_flushed_byte_survives_a_kill_within_any_write(
    fd: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round appends and flushes at random, and dies in the middle of one write, torn at any byte."""
    chance = random.Random(seed)
    plain = content(12 * CHUNK)
    left = [0]

    def torn(to: int, data: memoryview, at: int) -> None:
        if left[0] <= len(data):
            os.pwrite(to, data[: left[0]], at)
            raise KilledError
        left[0] -= len(data)
        os.pwrite(to, data, at)

    left[0] = 1 << 30
    monkeypatch.setattr(writers, "_write", torn)
    SealedWriter(fd, KEYS, BINDING)
    acknowledged = kills = 0
    finished = False
    while not finished:
        left[0] = 1 << 60
        writer, found = resumed(fd)
        assert found == plain[: len(found)]
        assert len(found) >= acknowledged, "a byte that was flushed is gone"
        left[0] = chance.randrange(4 * CHUNK)
        try:
            while writer.size < len(plain):
                writer.append(plain[writer.size : writer.size + chance.randrange(1, CHUNK + CHUNK // 2)])
                if chance.random() < 0.7:
                    writer.flush()
                    acknowledged = writer.size
            writer.finish()
            finished = True
        except KilledError:
            kills += 1
    assert kills > 3
    monkeypatch.undo()
    assert SealedReader(fd, KEYS, BINDING).pread(0, len(plain)) == plain


def test_a_kill_while_the_end_is_written_leaves_an_upload_that_can_be_finished(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SealedWriter(fd, KEYS, BINDING)
    writer.append(content(CHUNK + 100))
    writer.flush()

    def killed(_fd: int, _length: int) -> None:
        raise KilledError

    monkeypatch.setattr(os, "ftruncate", killed)
    with pytest.raises(KilledError):
        writer.finish()
    monkeypatch.undo()
    with pytest.raises(DamagedError):
        SealedReader(fd, KEYS, BINDING)
    again, found = resumed(fd)
    assert found == content(CHUNK + 100)
    again.finish()
    assert SealedReader(fd, KEYS, BINDING).size == CHUNK + 100


def test_a_torn_chunk_is_cut_off_and_the_chunks_before_it_survive(fd: int) -> None:
    writer = SealedWriter(fd, KEYS, BINDING)
    writer.append(content(5 * CHUNK))
    os.ftruncate(fd, chunk_at(3) + 777)  # what a power cut leaves of unsynced bytes
    again, found = resumed(fd)
    assert found == content(3 * CHUNK)
    again.append(content(5 * CHUNK)[3 * CHUNK :])
    again.finish()
    assert SealedReader(fd, KEYS, BINDING).pread(0, 5 * CHUNK) == content(5 * CHUNK)


@pytest.mark.parametrize("flushed", [0, 1, CHUNK, CHUNK + 1, 2 * CHUNK + 9, 3 * CHUNK])
@pytest.mark.parametrize("cut", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 9, 3 * CHUNK])
@pytest.mark.parametrize("finish", [False, True])
def test_what_lies_behind_a_cut_is_gone_for_good(fd: int, flushed: int, cut: int, *, finish: bool) -> None:
    plain = content(3 * CHUNK)
    writer = SealedWriter(fd, KEYS, BINDING)
    writer.append(plain[:flushed])
    writer.flush()
    if finish:
        writer.finish()
    if cut > flushed:
        with pytest.raises(DamagedError):
            writer.cut(cut)
        return
    writer.cut(cut)
    assert resumed(fd)[1] == plain[:cut]
    other = bytes(3 * CHUNK - cut)
    if not writer.finished:
        writer.append(other)
        writer.finish()
        assert SealedReader(fd, KEYS, BINDING).pread(0, 3 * CHUNK) == plain[:cut] + other


def test_another_uploads_file_is_not_gone_on_with(fd: int) -> None:
    SealedWriter(fd, KEYS, BINDING)
    with pytest.raises(DamagedError, match="another one"):
        SealedWriter.resume(fd, KEYS, "up_other")
    os.ftruncate(fd, HEADER_BYTES - 1)
    with pytest.raises(DamagedError):
        SealedWriter.resume(fd, KEYS, BINDING)


def test_a_finished_file_takes_no_more_and_may_be_finished_twice(fd: int) -> None:
    writer = SealedWriter(fd, KEYS, BINDING)
    writer.append(b"all")
    writer.finish()
    writer.finish()
    again, found = resumed(fd)
    assert (again.finished, found) == (True, b"all")
    again.finish()
    with pytest.raises(ValueError, match="finished"):
        again.append(b"more")
