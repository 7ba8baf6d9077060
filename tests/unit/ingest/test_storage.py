"""Source files: guarded, bounded, and gone when they are not wanted."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from services.ingest.storage import Part, copy_input, disk_errors
from shared.layout import Layout
from shared.problems import Problem


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "data")
    layout.input.mkdir(parents=True)
    return layout


def new_part(layout: Layout, max_bytes: int = 1000) -> Part:
    return Part(layout, max_bytes, 0)


def test_a_part_is_hashed_and_counted_and_gets_its_lasting_name(layout: Layout) -> None:
    part = new_part(layout)
    part.write(memoryview(b"ab"))
    part.write(memoryview(b"c"))
    part.finish()
    part.promote("mov,mp4,m4a,3gp,3g2,mj2")
    part.discard()
    assert part.target("mov").read_bytes() == b"abc"
    assert (part.size, part.sha256) == (3, hashlib.sha256(b"abc").hexdigest())
    assert [path.suffix for path in layout.uploads.iterdir()] == [".mp4"]


def test_a_part_over_the_limit_is_refused_and_leaves_nothing(layout: Layout) -> None:
    part = new_part(layout)
    part.write(memoryview(b"x" * 1000))
    with pytest.raises(Problem) as refusal:
        part.write(memoryview(b"x"))
    part.discard()
    assert refusal.value.code == "upload_too_large"
    assert list(layout.uploads.iterdir()) == []


def test_below_the_disk_floor_nothing_is_begun(layout: Layout) -> None:
    with pytest.raises(Problem) as refusal:
        Part(layout, 1000, 1 << 62)
    assert (refusal.value.status, refusal.value.code) == (507, "disk_full")
    assert list(layout.uploads.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_that_is_full_says_so(number: int) -> None:
    with pytest.raises(Problem) as refusal, disk_errors():
        raise OSError(number, "")
    assert refusal.value.status == 507


def test_other_disk_errors_are_not_disguised() -> None:
    with pytest.raises(OSError, match="I/O"), disk_errors():
        raise OSError(errno.EIO, "I/O")


def test_a_file_of_the_input_folder_is_copied(layout: Layout) -> None:
    (layout.input / "films" / "a b").mkdir(parents=True)
    (layout.input / "films" / "a b" / "x.mp4").write_bytes(b"abc")
    part = new_part(layout)
    copy_input(layout, "films/a b/x.mp4", part)
    part.finish()
    assert part.path.read_bytes() == b"abc"


@pytest.mark.parametrize(
    "path",
    ["../secret", "films/../../secret", "/etc/passwd", "films/link", "linked/x.mp4", "films", "films/pipe", ".", "",
     "none.mp4", "films/x.mp4/y", "uploads/up_1.mp4", "./uploads/up_1.mp4", "films//../../secret", "a\0b", "x" * 300],
)  # fmt: skip
def test_nothing_outside_and_nothing_but_a_regular_file_is_read(layout: Layout, path: str) -> None:
    (layout.data / "secret").write_bytes(b"secret")
    (layout.input / "films").mkdir()
    (layout.input / "films" / "x.mp4").write_bytes(b"abc")
    (layout.input / "films" / "link").symlink_to("x.mp4")
    (layout.input / "linked").symlink_to("films")
    os.mkfifo(layout.input / "films" / "pipe")
    part = new_part(layout)
    (layout.uploads / "up_1.mp4").write_bytes(b"another's")
    with pytest.raises(Problem) as refusal:
        copy_input(layout, path, part)
    part.discard()
    assert refusal.value.code == "video_not_found"
