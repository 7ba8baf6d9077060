"""Every job has one directory, nobody else's, with its id in it; and an old job's directory is found again."""

import errno
import os
import threading
from pathlib import Path

import pytest

from shared import base_dirs, below
from shared.identity import uuid7
from shared.layout import Layout, safe_stem

A, B, C = (f"01890000-0000-7000-8000-{letter * 12}" for letter in "abc")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "data")


def test_the_claim_marks_the_directory(layout: Layout) -> None:
    base = layout.claim_base_dir(A, "film")
    assert (base, layout.owner_of(base)) == ("film", A)
    assert (layout.output / base / ".job").read_text() == f"{A}\n"
    assert layout.owner_of("nothing") is None


def test_b1_two_jobs_with_one_stem_get_their_own(layout: Layout) -> None:
    """Predecessor fault B1: they wrote into each other's directory."""
    bases = [layout.claim_base_dir(job, "film") for job in (A, B, C)]
    assert bases == ["film", "film-bbbbbbbbbbbb", "film-cccccccccccc"]
    assert [layout.owner_of(base) for base in bases] == [A, B, C]


def test_b1_a_film_that_is_called_like_the_variant_of_another_job(layout: Layout) -> None:
    assert layout.claim_base_dir(A, "film-bbbbbbbbbbbb") == "film-bbbbbbbbbbbb"
    layout.claim_base_dir(C, "film")
    assert layout.claim_base_dir(B, "film") == f"film-{B}"


def test_b1_claims_at_the_same_time(layout: Layout) -> None:
    jobs = [uuid7() for _ in range(12)]
    bases: dict[str, str] = {}
    barrier = threading.Barrier(len(jobs))

    def claim(job: str, where: tuple[str, str]) -> None:
        barrier.wait()
        bases[job] = layout.claim_base_dir(job, *where)

    places = [("film", ""), ("shows", ""), ("film", "shows")]  # the second and the third would nest
    threads = [threading.Thread(target=claim, args=(job, places[n % 3])) for n, job in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(layout.owner_of(base) == job for job, base in bases.items())
    assert not [(a, b) for a in bases.values() for b in bases.values() if a.startswith(f"{b}/")]


def test_a_retried_submission_shares_the_variant_of_its_first_try(layout: Layout) -> None:
    layout.claim_base_dir(A, "film")
    assert layout.claim_base_dir(B, "film") == layout.claim_base_dir(B, "film") == "film-bbbbbbbbbbbb"


@pytest.mark.parametrize("name", ["_state", "jobs", "Jobs", "_STATE"])
def test_the_installations_own_names_are_nobodys(layout: Layout, name: str) -> None:
    assert layout.claim_base_dir(A, name) == f"{name}-aaaaaaaaaaaa"
    assert layout.claim_base_dir(A, name, "shows") == f"shows/{name}"
    assert not layout.mark_base_dir(A, name)


@pytest.mark.parametrize("way", ["file", "link"])
def test_what_is_in_the_way_stays(layout: Layout, tmp_path: Path, way: str) -> None:
    layout.output.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for name in ("film", "shows"):
        if way == "file":
            (layout.output / name).write_text("mine")
        else:
            (layout.output / name).symlink_to(tmp_path / "elsewhere")
    assert layout.claim_base_dir(A, "film") == "film-aaaaaaaaaaaa"
    assert layout.claim_base_dir(A, "film", "shows") == "shows-project/film"
    assert not layout.mark_base_dir(A, "film")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_project_groups(layout: Layout) -> None:
    assert layout.claim_base_dir(A, "one", "shows/2026") == "shows/2026/one"
    assert layout.claim_base_dir(B, "two", "shows/2026") == "shows/2026/two"
    assert layout.claim_base_dir(C, "shows") == "shows-cccccccccccc"


def test_a_project_of_the_same_name_as_a_job_does_not_nest_in_it(layout: Layout) -> None:
    layout.claim_base_dir(A, "shows")
    assert layout.claim_base_dir(B, "one", "shows") == "shows-project/one"
    layout.claim_base_dir(A, "more-project")
    layout.claim_base_dir(A, "more")
    assert layout.claim_base_dir(C, "one", "more/2026") == "more-cccccccccccc/2026/one"


@pytest.mark.parametrize("subdir", ["..", "a/../b", "/etc", "a//b", "a\0b"])
def test_no_claim_outside(layout: Layout, subdir: str) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EXDEV)):
        layout.claim_base_dir(A, "film", subdir)


def test_a_full_disk_leaves_no_claim(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(base_dirs, "write_at", full)
    with pytest.raises(OSError, match="No space"):
        layout.claim_base_dir(A, "film")
    assert not (layout.output / "film").exists()


def test_names_that_differ_in_case_or_form_are_the_file_systems_to_tell_apart(layout: Layout) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    bases = [layout.claim_base_dir(uuid7(), stem) for stem in ("film", "Film", composed, decomposed)]
    assert len({(layout.output / base).stat().st_ino for base in bases}) == 4
    assert safe_stem(f"{decomposed}.mp4") == composed


def test_an_old_directory_can_be_marked_once(layout: Layout) -> None:
    (layout.output / "old" / "subs").mkdir(parents=True)
    assert layout.mark_base_dir(A, "old")
    assert layout.mark_base_dir(A, "old")
    assert not layout.mark_base_dir(B, "old")
    assert not layout.mark_base_dir(B, "old/subs")
    assert not layout.mark_base_dir(B, "../old")
    assert layout.mark_base_dir(B, "gone/since")
    assert [layout.owner_of(base) for base in ("old", "gone/since")] == [A, B]


@pytest.mark.parametrize("marker", ["", "x" * 1000, "link", "directory"])
def test_a_strange_marker_makes_a_directory_somebody_elses(layout: Layout, tmp_path: Path, marker: str) -> None:
    base = layout.output / "film"
    base.mkdir(parents=True)
    if marker == "link":
        (tmp_path / "mine").write_text(f"{A}\n")
        (base / ".job").symlink_to(tmp_path / "mine")
    elif marker == "directory":
        (base / ".job").mkdir()
    else:
        (base / ".job").write_text(marker)
    assert not layout.mark_base_dir(A, "film")
    assert layout.claim_base_dir(A, "one", "film") == "film-project/one"
    assert base_dirs.resolve(layout.output, A, [], "film") is None


def test_the_marker_is_never_seen_half_written(tmp_path: Path) -> None:
    with below.directory_below(tmp_path) as directory:
        below.write_at(directory, "x", b"whole")
        assert below.names_at(directory) == ["x"]
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            below.read_at(directory, "x", 4)
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            below.read_at(directory, ".", 4)


class TestResolution:
    def pointer(self, layout: Layout, target: str | Path) -> None:
        layout.pointer(A).mkdir(parents=True)
        (layout.pointer(A) / "target.txt").write_text(f"{target}\n")

    def make(self, layout: Layout, *bases: str) -> None:
        for base in bases:
            (layout.output / base).mkdir(parents=True)

    def test_the_pointer_comes_first(self, layout: Layout) -> None:
        self.make(layout, "shows/film-2", "other", "film")
        layout.write_pointer(A, "shows/film-2", "film.mp4")
        assert base_dirs.resolve(layout.output, A, ["other/film.dub.mkv"], "film") == "shows/film-2"

    def test_else_the_parent_of_its_video(self, layout: Layout) -> None:
        self.make(layout, "other/mobile", "other/subs", "film")
        recorded = ["other/subs/film.srt", "other/mobile/mobile.mp4", "other/film.dub.mkv"]
        assert base_dirs.resolve(layout.output, A, recorded, "film") == "other"
        assert base_dirs.resolve(layout.output, A, [f"{layout.output}/other/film.dub.mkv"], "film") == "other"

    def test_else_the_stem(self, layout: Layout) -> None:
        self.make(layout, "film")
        assert base_dirs.resolve(layout.output, A, ["gone/film.dub.mkv"], "film") == "film"
        assert base_dirs.resolve(layout.output, A, [], "nothing") is None

    @pytest.mark.parametrize(
        "target", ["/srv/dub/Output/film-2", "..", "../..", "/", "", "_state", "jobs", "film\0", "x" * 20_000]
    )
    def test_a_pointer_of_another_machine_or_of_nobody_is_passed_over(self, layout: Layout, target: str) -> None:
        self.make(layout, "film")
        self.pointer(layout, target)
        assert base_dirs.resolve(layout.output, A, ["/srv/dub/Output/film-2/film.dub.mkv"], "film") == "film"

    def test_of_a_path_from_another_machine_the_end_that_is_here_counts(self, layout: Layout) -> None:
        self.make(layout, "shows/film-2", "film")
        self.pointer(layout, "/srv/dub/Output/shows/film-2")
        assert base_dirs.resolve(layout.output, A, [], "film") == "shows/film-2"

    def test_no_link_leads_out(self, layout: Layout, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        self.make(layout, "shows")
        (layout.output / "shows" / "film").symlink_to(tmp_path / "elsewhere")
        self.pointer(layout, layout.output / "shows" / "film")
        assert base_dirs.resolve(layout.output, A, [], "film") is None

    def test_b1_the_directory_of_another_job_is_passed_over(self, layout: Layout) -> None:
        layout.claim_base_dir(B, "film")
        assert base_dirs.resolve(layout.output, A, ["film/film.dub.mkv"], "film") is None
        assert base_dirs.resolve(layout.output, B, [], "film") == "film"


def test_the_files_that_other_tools_look_for(layout: Layout) -> None:
    paths = layout.job(A, "shows/film", "film")
    found = [paths.job_log, paths.logs, paths.stream_manifest, paths.review_state, paths.qa_summary, paths.job_manifest]
    assert [path.relative_to(paths.base).as_posix() for path in found] == [
        "job.log", "logs", "stream/manifest.json", "review/state.json", "qa/summary.json", "manifests/job.json",
    ]  # fmt: skip
