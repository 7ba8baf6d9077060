"""All files of a deleted job are removed, and nobody else's, even if the process is killed at any step."""

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from services.library import removal
from services.library.removal import Removal, remove
from shared.layout import Layout
from tests.unit.library.deleted import FOLDER, OTHER, SOURCE, files, two_jobs
from tests.unit.library.stories import JOB


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return two_jobs(tmp_path / "data")


def test_all_of_it_and_nothing_else(layout: Layout) -> None:
    others = files(layout) - files(layout, JOB)
    assert remove(layout, JOB, "film", SOURCE) == Removal(removed=True)
    assert files(layout) == others
    assert len(others) == len(FOLDER) + 5
    assert remove(layout, JOB, "film", SOURCE) == Removal(removed=False)


def test_without_its_source(layout: Layout) -> None:
    remove(layout, JOB, "film", "")
    assert files(layout, JOB) == {f"input/{SOURCE}"}


def test_a_job_that_took_the_name_since_is_not_touched(layout: Layout) -> None:
    remove(layout, JOB, "film", SOURCE)
    layout.claim_base_dir(new := OTHER.replace("2", "3"), "film")
    assert remove(layout, JOB, "film", SOURCE) == Removal(removed=False, left=("the base directory is another job's",))
    assert layout.owner_of("film") == new


def test_a_directory_without_a_marker_stays(layout: Layout) -> None:
    (layout.output / "film" / ".job").unlink()
    done = remove(layout, JOB, "film", SOURCE)
    assert done == Removal(removed=True, left=("the base directory has no marker",))
    assert files(layout, JOB) == {f"output/film/{name}" for name in FOLDER}


@pytest.mark.parametrize("base", ["", "jobs", "_state", "_state/trash", "..", "../input", "/etc", "film/../film"])
def test_no_base_dir_leads_elsewhere(layout: Layout, base: str) -> None:
    before = files(layout)
    for directory in (layout.output, layout.state, layout.output / "jobs", layout.input):
        directory.mkdir(exist_ok=True)
        (directory / ".job").write_text(JOB)
    remove(layout, JOB, base, "")
    mine = {path for path in before if path.startswith(f"output/jobs/{JOB}/")}
    assert before - files(layout) == mine


@pytest.mark.parametrize(
    "source", ["movies/film.mp4", "../secret", "uploads/..", "uploads/x/y", "/etc/passwd", "uploads/"]
)
def test_a_source_that_is_no_upload_stays(layout: Layout, source: str) -> None:
    (layout.input / "movies").mkdir()
    (layout.input / "movies" / "film.mp4").write_text("a person's own")
    assert remove(layout, JOB, "film", source).left == ("the source is no upload",)
    assert files(layout, JOB) == {f"input/{SOURCE}", "input/movies/film.mp4"}


def test_links_are_removed_and_not_followed(layout: Layout, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    (layout.output / "film" / "etc").symlink_to("/etc")
    (layout.output / "film" / "work" / "out").symlink_to(outside)
    (layout.output / "film" / "work" / "precious").symlink_to(outside / "precious")
    (layout.input / SOURCE).unlink()
    (layout.input / SOURCE).symlink_to(outside / "precious")
    assert remove(layout, JOB, "film", SOURCE) == Removal(removed=True, left=("the source is no regular file",))
    assert (outside / "precious").read_text() == "mine"
    assert files(layout, JOB) == {f"input/{SOURCE}"}
    assert Path("/etc/passwd").exists()


def test_a_base_dir_or_a_place_that_is_a_link_stays(layout: Layout, tmp_path: Path) -> None:
    for path in (layout.output / "film", layout.output / "jobs", layout.uploads):
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    done = remove(layout, JOB, "film", SOURCE)
    assert done == Removal(removed=False, left=("a link or a file is where a directory should be",))
    assert (tmp_path / "film" / "film.dub.mkv").exists()
    assert (tmp_path / "jobs" / JOB / "target.txt").exists()
    assert (tmp_path / "uploads" / "up_1.mp4").exists()


def test_a_directory_with_another_jobs_inside_stays(layout: Layout) -> None:
    nested = layout.output / "film" / "work" / "inner"
    nested.mkdir()
    (nested / ".job").write_text(f"{OTHER}\n")
    done = remove(layout, JOB, "film", SOURCE)
    assert done == Removal(removed=True, left=("another job's directory is inside the base directory",))
    assert (layout.output / "film" / "film.dub.mkv").exists()


def test_directories_that_are_exchanged_after_the_look(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    film, others = layout.output / "film", layout.output / f"film-{OTHER[-12:]}"
    looked = removal._check_ours

    def look_and_exchange(base: int, job: str) -> None:
        looked(base, job)
        film.rename(layout.output / "aside")
        others.rename(film)

    monkeypatch.setattr(removal, "_check_ours", look_and_exchange)
    done = remove(layout, JOB, "film", "")
    assert done == Removal(removed=True, left=("the base directory was exchanged for another",))
    assert layout.owner_of("film") == OTHER
    assert (film / "film.dub.mkv").exists()


def test_what_lies_in_the_trash_and_is_not_the_jobs_stays(layout: Layout) -> None:
    (layout.trash / JOB).mkdir(parents=True)
    (layout.trash / JOB / "precious").write_text("mine")
    with pytest.raises(OSError, match="not empty"):
        remove(layout, JOB, "film", SOURCE)
    assert (layout.trash / JOB / "precious").exists()


def test_a_project_on_a_volume_of_its_own(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_volume(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "rename", other_volume)
    assert remove(layout, JOB, "film", SOURCE) == Removal(removed=True)
    assert files(layout, JOB) == set()


CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}


def killed_at(layout: Layout, change: int) -> bool:
    """Remove in a process of its own that is killed right before its n-th change; False if it had no so many."""
    child = os.fork()
    if child == 0:
        left = change

        def hook(name: str, _: tuple[object, ...]) -> None:
            nonlocal left
            left -= name in CHANGES
            if name in CHANGES and left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        remove(layout, JOB, "film", SOURCE)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("and_then", ["the same job is removed again", "another job takes the name first"])
def test_killed_at_every_step_and_done_again(tmp_path: Path, and_then: str) -> None:
    for change in range(100):
        layout = Layout(tmp_path / str(change))
        layout.uploads.mkdir(parents=True)
        layout.write_pointer(JOB, layout.claim_base_dir(JOB, "film"), "film.mp4")
        (layout.output / "film" / "work" / "deep").mkdir(parents=True)
        (layout.output / "film" / "work" / "deep" / "a.wav").write_text("x")
        (layout.output / "film" / "film.dub.mkv").write_text("x")
        (layout.input / SOURCE).write_text("video")
        killed = killed_at(layout, change)
        new = layout.claim_base_dir(OTHER, "film") if and_then.startswith("another") else None
        remove(layout, JOB, "film", SOURCE)
        assert files(layout) == ({f"output/{new}/.job"} if new else set())
        if not killed:
            assert change > 10
            return
    pytest.fail("it never ended")
