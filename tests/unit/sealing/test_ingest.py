"""A video that arrives is sealed from its first byte on, and its check gets plain bytes that nobody else can find."""

import asyncio
import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ingest import media
from services.ingest.storage import Part
from services.ingest.uploads.sealed import media_of
from shared.layout import Layout
from shared.media_policy import MediaLimits
from shared.problems import Problem
from shared.sealing.format import MAGIC, sealed_size
from shared.sealing.keyring import Keyring
from shared.sealing.vault import Vault

VIDEO = b"\0\0\0\x18ftypisom" + b"plain video " * 20_000
"""It begins like an mp4, and is none."""
LIMITS = MediaLimits(max_minutes=1)


@pytest.fixture
def part(tmp_path: Path) -> Part:
    layout = Layout(tmp_path)
    vault = Vault(Keyring((b"k" * 32,)), frozenset({"uploads"}), layout.output)
    received = Part(layout, 1 << 30, 0, media_of(vault))
    received.write(memoryview(VIDEO))
    received.finish()
    return received


def test_a_video_of_a_form_is_sealed_and_known_by_its_plain_size_and_digest(part: Part) -> None:
    raw = part.path.read_bytes()
    assert raw.startswith(MAGIC)
    assert (b"plain video" in raw, len(raw)) == (False, sealed_size(len(VIDEO)))
    assert (part.size, part.sha256) == (len(VIDEO), hashlib.sha256(VIDEO).hexdigest())
    assert part.sealed == part.upload_id
    with part.plain() as plain:
        assert plain.read_bytes() == VIDEO
        assert list(part.path.parent.iterdir()) == [part.path]


async def test_the_check_reads_the_plain_bytes_of_a_sealed_video_and_leaves_none_open(part: Part) -> None:
    with pytest.raises(Problem, match=r"starts like a video|incomplete"):
        await media.check(part.plain(), LIMITS, 60)
    targets = [_target(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 -- no directory's entries
    assert not [target for target in targets if target.startswith(str(part.path.parent))]


async def test_whoever_leaves_while_a_video_is_decrypted_leaves_nothing_open() -> None:
    going_on, closed = threading.Event(), threading.Event()

    @contextlib.contextmanager
    def slow() -> Iterator[Path]:
        going_on.wait(10)
        try:
            yield Path("/nowhere")
        finally:
            closed.set()

    checking = asyncio.create_task(media.check(slow(), LIMITS, 60))
    await asyncio.sleep(0)
    checking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await checking
    going_on.set()
    assert await asyncio.to_thread(closed.wait, 10)


async def test_without_room_for_the_plain_bytes_a_submission_is_refused_with_507(
    part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_fd: int, _offset: int, _length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Problem) as refused:
        await media.check(part.plain(), LIMITS, 60)
    assert (refused.value.status, refused.value.code) == (507, "disk_full")


def _target(name: str) -> str:
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/self/fd/{name}").readlink())
    return ""
