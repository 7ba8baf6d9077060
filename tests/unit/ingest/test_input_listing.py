"""The server's own input folder, seen by a client: one directory, videos only, and no way out."""

import os
from pathlib import Path

import pytest

from services.ingest.input_listing import ITEMS_MAX, list_input
from shared.layout import Layout
from shared.problems import Problem


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "data")
    for name in ("films/old", "uploads", "imports/job", "films/uploads"):
        (layout.input / name).mkdir(parents=True)
    for name in ("b.mp4", "A.MKV", "notes.txt", ".hidden.mp4", "films/c.webm", "uploads/up_1.mp4"):
        (layout.input / name).write_bytes(b"123")
    (tmp_path / "secret.mp4").write_bytes(b"1")
    (layout.input / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (layout.input / "out").symlink_to(tmp_path)
    os.mkfifo(layout.input / "pipe.mp4")
    return layout


def names(layout: Layout, directory: str = "") -> list[str]:
    return [item.path for item in list_input(layout, directory)[0]]


def test_directories_come_first_and_only_videos_are_shown(layout: Layout):
    assert names(layout) == ["films", "A.MKV", "b.mp4"]
    items, more = list_input(layout, "")
    assert [(item.type, item.size_bytes) for item in items] == [("dir", 0), ("file", 3), ("file", 3)]
    assert not more


def test_a_directory_below_is_named_by_its_path(layout: Layout):
    assert names(layout, "films") == ["films/old", "films/uploads", "films/c.webm"]
    assert names(layout, "films/old") == []


@pytest.mark.parametrize(
    "directory",
    ["..", "films/..", "films/../..", "/", "/etc", "out", "out/data", "b.mp4", "nowhere", ".", "films//old", "a\0b",
     "\udcff", "x" * 300, "link.mp4"],
)  # fmt: skip
def test_there_is_no_way_out_of_the_input_folder(layout: Layout, directory: str):
    with pytest.raises(Problem) as refusal:
        list_input(layout, directory)
    assert (refusal.value.status, refusal.value.code) == (404, "directory_not_found")


def test_a_folder_that_nobody_made_is_empty(tmp_path: Path):
    assert list_input(Layout(tmp_path), "") == ([], False)


def test_of_many_files_the_first_are_shown_and_it_is_said_that_there_are_more(layout: Layout):
    for number in range(ITEMS_MAX + 5):
        (layout.input / "films" / "old" / f"{number:04}.mp4").touch()
    items, more = list_input(layout, "films/old")
    assert (len(items), items[-1].name, more) == (ITEMS_MAX, "0199.mp4", True)


def test_a_name_that_is_no_text_is_not_shown(layout: Layout):
    (layout.input / "films" / "old" / os.fsdecode(b"bad\xff.mp4")).touch()
    (layout.input / "films" / "old" / "line\nbreak.mp4").touch()
    assert names(layout, "films/old") == []
