"""The bytes of an upload, plain and encrypted: what counts, and what the digest is of."""

import errno
import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from services.ingest.uploads import received as module
from services.ingest.uploads.medium import Media
from services.ingest.uploads.received import Received
from services.ingest.uploads.record import Record
from services.ingest.uploads.sealed import media_of
from shared.layout import Layout
from shared.problems import Problem
from shared.sealing.classes import CLASSES
from shared.sealing.keyring import Keyring
from shared.sealing.vault import Vault

DATA = random.Random(1).randbytes(300_000)
Open = Callable[[], Received]


def sealing(layout: Layout) -> Media:
    return media_of(Vault(Keyring((bytes(32),)), frozenset(CLASSES), layout.output))


@pytest.fixture(params=["plain", "encrypted"])
def media(request: pytest.FixtureRequest, tmp_path: Path) -> Media:
    return Media() if request.param == "plain" else sealing(Layout(tmp_path))


@pytest.fixture
def opened(media: Media, tmp_path: Path) -> Open:
    """Each call is a process that starts."""
    layout = Layout(tmp_path)
    layout.uploads.mkdir(parents=True)
    record = Record(
        upload_id="up_0123456789abcdef", owner="u", title="t", total_bytes=len(DATA), chunk_bytes=100_000,
        created_at=0, expires_at=1, sealed=media.seals,
    )  # fmt: skip
    return lambda: Received(layout, record, media.of(sealed=record.sealed), lambda: None)


def append(received: Received, data: bytes, piece: int = 7_000) -> None:
    received.begin(whole=False)
    for at in range(0, len(data), piece):
        received.write(data[at : at + piece])
    received.end()


def read(received: Received, media: Media) -> bytes:
    with media.new.plain(received.path, "up_0123456789abcdef") as path:
        return path.read_bytes()


def test_what_is_appended_counts_and_is_hashed_on_the_way(opened: Open, media: Media):
    received = opened()
    append(received, DATA[:123_456])
    assert received.offset == 123_456
    append(received, DATA[123_456:])
    assert received.sha256() == hashlib.sha256(DATA).hexdigest()
    assert read(received, media) == DATA


def test_bytes_count_while_the_request_still_runs(opened: Open):
    received = opened()
    received.begin(whole=False)
    offsets = []
    for at in range(0, 200_000, 50_000):
        received.write(DATA[at : at + 50_000])
        offsets.append(received.offset)
    assert offsets == sorted(offsets)
    assert offsets[-1] > 100_000  # an encrypted file holds back less than a chunk of 64 KiB
    received.end()
    assert received.offset == 200_000


def test_after_a_restart_it_goes_on_and_the_digest_is_still_of_all_bytes(opened: Open, media: Media):
    append(opened(), DATA[:111_111])
    received = opened()
    assert received.offset == 111_111
    append(received, DATA[111_111:])
    assert received.sha256() == hashlib.sha256(DATA).hexdigest()
    assert read(received, media) == DATA


def test_a_process_that_dies_in_the_middle_leaves_what_was_written(opened: Open):
    received = opened()
    received.begin(whole=False)
    received.write(DATA[:200_000])
    counted = received.offset  # no `end`: kill -9
    again = opened()
    assert again.offset == counted >= 200_000 - (1 << 16)
    append(again, DATA[counted:])
    assert again.sha256() == hashlib.sha256(DATA).hexdigest()


def test_what_is_kept_whole_or_not_at_all_does_not_count_before(opened: Open, media: Media):
    received = opened()
    append(received, DATA[:50_000])
    received.begin(whole=True)
    received.write(b"wrong" * 30_000)
    assert received.offset == 50_000
    received.end()
    received.begin(whole=True)
    received.write(DATA[50_000:])
    received.keep((1, "digest"))
    received.end()
    assert (received.offset, received.chunks) == (len(DATA), {1: "digest"})
    assert received.sha256() == hashlib.sha256(DATA).hexdigest()
    assert read(received, media) == DATA


def test_a_kill_in_the_middle_of_a_whole_one_leaves_none_of_it(opened: Open):
    received = opened()
    append(received, DATA[:50_000])
    received.begin(whole=True)
    received.write(b"wrong" * 30_000)
    again = opened()
    assert again.offset == 50_000
    append(again, DATA[50_000:])
    assert again.sha256() == hashlib.sha256(DATA).hexdigest()


def test_chunks_are_known_by_their_digest_after_a_restart(opened: Open):
    received = opened()
    for index in range(3):
        received.begin(whole=True)
        received.write(DATA[index * 100_000 : (index + 1) * 100_000])
        received.keep((index, f"digest-{index}"))
        received.end()
    assert opened().chunks == {0: "digest-0", 1: "digest-1", 2: "digest-2"}


def test_a_full_disk_takes_nothing_back(opened: Open, monkeypatch: pytest.MonkeyPatch):
    received = opened()
    append(received, DATA[:50_000])
    real, left = (os.write, os.pwrite), [90_000]

    def limited(write: Callable[..., int]) -> Callable[..., int]:
        def write_some(fd: int, data: bytes, *at: int) -> int:
            if left[0] <= 0:
                raise OSError(errno.ENOSPC, "no space left")
            written = write(fd, bytes(data)[: max(1, left[0])], *at)
            left[0] -= written
            return written

        return write_some

    monkeypatch.setattr(os, "write", limited(real[0]))
    monkeypatch.setattr(os, "pwrite", limited(real[1]))
    with pytest.raises(Problem) as refusal:
        append(received, DATA[50_000:])
    assert refusal.value.status == 507
    counted = received.offset
    assert counted >= 50_000
    monkeypatch.setattr(os, "write", real[0])
    monkeypatch.setattr(os, "pwrite", real[1])
    assert opened().offset == counted
    append(received, DATA[counted:])
    assert received.sha256() == hashlib.sha256(DATA).hexdigest()


def test_below_the_disk_floor_nothing_more_is_taken(tmp_path: Path):
    def full() -> None:
        raise Problem(507, "disk_full", "full")

    layout = Layout(tmp_path)
    layout.uploads.mkdir(parents=True)
    record = Record(upload_id="up_1", owner="u", title="t", total_bytes=9, chunk_bytes=9, created_at=0, expires_at=1)
    received = Received(layout, record, Media().new, full)
    received.begin(whole=False)
    with pytest.raises(Problem):
        received.write(b"x")
    received.end()
    assert received.offset == 0


def test_after_a_power_cut_it_goes_on_where_the_disk_is_sure(opened: Open, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SYNC_EVERY_BYTES", 120_000)
    append(opened(), DATA[:250_000], piece=50_000)
    monkeypatch.setattr(module, "this_boot", lambda: "another boot")
    received = opened()
    assert 120_000 <= received.offset < 250_000
    append(received, DATA[received.offset :])
    assert received.sha256() == hashlib.sha256(DATA).hexdigest()


def test_an_encrypted_upload_has_no_plain_byte_on_the_disk(tmp_path: Path):
    layout = Layout(tmp_path)
    layout.uploads.mkdir(parents=True)
    media = sealing(layout)
    record = Record(
        upload_id="up_0123456789abcdef", owner="u", title="t", total_bytes=64_000, chunk_bytes=9, created_at=0,
        expires_at=1, sealed=True,
    )  # fmt: skip
    received = Received(layout, record, media.new, lambda: None)
    append(received, b"a secret film " * 4_000)
    assert b"secret" not in b"".join(path.read_bytes() for path in layout.uploads.iterdir())
    received.sha256()
    assert b"secret" not in b"".join(path.read_bytes() for path in layout.uploads.iterdir())
