"""A sealed file gives back what was put in, at any offset, and refuses every other arrangement of its bytes."""

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.sealing.format import (
    CHUNK,
    FRAME,
    HEADER_BYTES,
    NONCE_BYTES,
    OVERHEAD,
    DamagedError,
    Header,
    UnknownKeyError,
    chunk_at,
    plain_size,
    sealed_size,
)
from shared.sealing.keyring import Keyring
from shared.sealing.reader import SealedReader, is_sealed
from shared.sealing.writer import SealedWriter

KEYS = Keyring((b"k" * 32,))
BINDING = "up_0123456789abcdef"
EDGES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 17)


def sealed(path: Path, plain: bytes, binding: str = BINDING, keys: Keyring = KEYS) -> Path:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        writer = SealedWriter(fd, keys, binding)
        writer.append(plain)
        writer.finish()
    finally:
        os.close(fd)
    return path


def read(path: Path, offset: int = 0, length: int = 1 << 30, binding: str | None = BINDING) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return bytes(SealedReader(fd, KEYS, binding).pread(offset, length))
    finally:
        os.close(fd)


def content(size: int) -> bytes:
    """Bytes in which no two chunks are alike."""
    return b"".join(number.to_bytes(8, "big") for number in range(size // 8 + 1))[:size]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return sealed(tmp_path / "sealed", content(3 * CHUNK + 17))


@pytest.mark.parametrize("size", EDGES)
def test_what_was_sealed_is_read_back_and_its_length_follows_from_the_files_length(tmp_path: Path, size: int) -> None:
    plain = content(size)
    path = sealed(tmp_path / "sealed", plain)
    assert path.stat().st_size == sealed_size(size)
    assert plain_size(path.stat().st_size) == size
    assert read(path) == plain
    assert plain[:8] == b"" or plain[8:40] not in path.read_bytes() or size < 40


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(0, 4 * CHUNK),
    cuts=st.lists(st.integers(0, 4 * CHUNK), max_size=6),
    ranges=st.lists(st.tuples(st.integers(0, 5 * CHUNK), st.integers(0, 3 * CHUNK)), min_size=1, max_size=5),
)
@example(size=2 * CHUNK, cuts=[CHUNK], ranges=[(CHUNK - 1, 2), (2 * CHUNK, 1)])
def test_any_range_of_anything_appended_in_any_pieces_is_as_in_the_plain_file(
    tmp_path: Path, size: int, cuts: list[int], ranges: list[tuple[int, int]]
) -> None:
    plain = content(size)
    fd = os.open(tmp_path / "sealed", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        writer = SealedWriter(fd, KEYS, BINDING)
        edges = [0, *sorted(cut for cut in cuts if cut < size), size]
        for first, last in itertools.pairwise(edges):
            writer.append(plain[first:last])
        writer.finish()
        reader = SealedReader(fd, KEYS, BINDING)
        assert reader.size == size
        for offset, length in ranges:
            assert reader.pread(offset, length) == plain[offset : offset + length]
    finally:
        os.close(fd)


def test_a_file_that_is_cut_off_at_any_place_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    for length in (0, 6, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 5, chunk_at(1), chunk_at(3), len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(DamagedError):
            read(file)


def test_a_file_that_ends_at_a_chunks_end_is_refused_although_every_chunk_is_whole(tmp_path: Path) -> None:
    path = sealed(tmp_path / "sealed", content(3 * CHUNK))
    os.truncate(path, chunk_at(2))
    with pytest.raises(DamagedError):
        read(path)


def test_chunks_that_are_exchanged_repeated_or_left_out_are_refused(file: Path) -> None:
    whole = file.read_bytes()
    header, chunks = whole[:HEADER_BYTES], [whole[chunk_at(n) : chunk_at(n + 1)] for n in range(4)]
    for order in ([1, 0, 2, 3], [0, 0, 2, 3], [0, 2, 3], [0, 1, 2, 2, 3]):
        file.write_bytes(header + b"".join(chunks[n] for n in order))
        with pytest.raises(DamagedError):
            read(file)


def test_a_chunk_that_something_is_appended_to_is_refused(file: Path) -> None:
    with file.open("ab") as end:
        end.write(b"\0" * 20)
    with pytest.raises(DamagedError):
        read(file)


@pytest.mark.parametrize("at", [8, 13, 20, 60, HEADER_BYTES - 1, HEADER_BYTES, chunk_at(1) + 500, -1])
def test_one_changed_bit_anywhere_is_refused(file: Path, at: int) -> None:
    raw = bytearray(file.read_bytes())
    raw[at] ^= 1
    file.write_bytes(raw)
    with pytest.raises((DamagedError, UnknownKeyError)):
        read(file, binding=None)


def test_the_chunks_of_another_file_are_refused_also_with_the_same_key_and_name(tmp_path: Path) -> None:
    mine, theirs = (sealed(tmp_path / name, content(2 * CHUNK)).read_bytes() for name in ("a", "b"))
    (tmp_path / "mixed").write_bytes(mine[: chunk_at(1)] + theirs[chunk_at(1) :])
    with pytest.raises(DamagedError):
        read(tmp_path / "mixed")


def test_v11_a_file_is_bound_to_its_upload_and_stands_in_for_no_other(tmp_path: Path) -> None:
    """Predecessor fault V11: bound to nothing when encrypted, to a job when decrypted, so nothing could be opened."""
    path = sealed(tmp_path / "sealed", b"mine", "up_mine")
    assert read(path, binding="up_mine") == b"mine"
    with pytest.raises(DamagedError, match="another one"):
        read(path, binding="up_theirs")
    raw = path.read_bytes()
    renamed = Header.decode(raw)
    forged = Header(renamed.key_id, renamed.salt, "up_theirs").encode()
    path.write_bytes(forged + raw[HEADER_BYTES:])
    with pytest.raises(DamagedError, match="not the one that was written"):
        read(path, binding="up_theirs")


def test_every_write_has_a_nonce_of_its_own_also_of_the_same_bytes_at_the_same_place(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "sealed", os.O_RDWR | os.O_CREAT)
    nonces = set()
    try:
        writer = SealedWriter(fd, KEYS, BINDING)
        for length in range(1, 9):
            writer.append(b"x")
            writer.flush()
            at = HEADER_BYTES + (0 if length % 2 == 0 else 4 + FRAME) + 4
            nonces.add(os.pread(fd, NONCE_BYTES, at))
        writer.finish()
        nonces.add(os.pread(fd, NONCE_BYTES, HEADER_BYTES))
    finally:
        os.close(fd)
    assert len(nonces) == 9
    assert bytes(NONCE_BYTES) not in nonces


def test_an_old_key_opens_what_it_sealed_and_a_strange_one_says_which_key_is_missing(tmp_path: Path) -> None:
    path = sealed(tmp_path / "sealed", b"before the rotation")
    rotated = Keyring((b"n" * 32, *KEYS.keys))
    fd = os.open(path, os.O_RDONLY)
    try:
        assert SealedReader(fd, rotated, BINDING).pread(0, 100) == b"before the rotation"
        with pytest.raises(UnknownKeyError, match=r"[0-9a-f]{16}"):
            SealedReader(fd, Keyring((b"n" * 32,)), BINDING)
    finally:
        os.close(fd)


def test_two_files_with_the_same_bytes_and_key_have_nothing_in_common_but_the_header(tmp_path: Path) -> None:
    one, two = (sealed(tmp_path / name, bytes(1000)).read_bytes() for name in ("a", "b"))
    assert one[:20] == two[:20]
    assert one[20:52] != two[20:52]
    assert one[HEADER_BYTES:] != two[HEADER_BYTES:]


def test_a_header_of_a_later_version_is_named_and_not_guessed(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[7] = 2
    file.write_bytes(raw)
    with pytest.raises(DamagedError, match="version 2"):
        read(file)


def test_a_plain_file_is_told_from_a_sealed_one(file: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"DUB")
    for path, expected in ((file, True), (tmp_path / "plain", False)):
        fd = os.open(path, os.O_RDONLY)
        assert is_sealed(fd) is expected
        os.close(fd)


def test_a_binding_fits_or_is_refused_when_the_file_is_begun(tmp_path: Path) -> None:
    assert read(sealed(tmp_path / "a", b"x", "b" * 75), binding="b" * 75) == b"x"
    for binding in ("", "b" * 76):
        with pytest.raises(ValueError, match="binding"):
            sealed(tmp_path / "b", b"x", binding)


def test_a_key_is_shown_nowhere() -> None:
    assert "kkkk" not in repr(KEYS)
    assert OVERHEAD == 28  # what docs/encryption.md says
