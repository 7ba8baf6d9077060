"""The last check before a file becomes visible, and the journal of those that are not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.worker.gate import Gate, StageCanceledError
from shared.artifacts import atomic_path, set_rules, sweep, temporary_path, write_bytes


@pytest.fixture(autouse=True)
def rules_end_with_the_test() -> Iterator[None]:
    yield
    set_rules(None, None)


def test_the_check_comes_when_the_file_is_complete_and_not_yet_visible(tmp_path: Path) -> None:
    target = tmp_path / "artifact.wav"
    seen: list[tuple[bytes, bool]] = []
    with atomic_path(target) as temporary:
        set_rules(lambda: seen.append((temporary.read_bytes(), target.exists())), None)
        temporary.write_bytes(b"whole")
    assert seen == [(b"whole", False)]
    assert target.read_bytes() == b"whole"


def test_a_stage_that_lost_its_time_while_it_wrote_publishes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    now = 0.0
    gate = Gate(15, clock=lambda: now)
    gate.start(0.0)
    gate.check()
    set_rules(gate.check, None)
    with pytest.raises(StageCanceledError), atomic_path(tmp_path / "artifact.wav") as temporary:  # noqa: PT012 -- the end of the block raises
        temporary.write_bytes(b"whole")
        now = 100.0
        gate.ask_to_end()  # what the parent does when it finds the stage lost
    assert list(tmp_path.iterdir()) == []


def test_a_file_has_a_note_until_it_is_published(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.mkdir()
    set_rules(None, journal)
    with atomic_path(tmp_path / "work" / "artifact.wav") as temporary:
        (note,) = journal.iterdir()
        assert (journal / note.read_text()).resolve() == temporary.resolve()
        temporary.touch()
    assert list(journal.iterdir()) == []
    with temporary_path(tmp_path / "work" / "scratch.wav"):
        assert len(list(journal.iterdir())) == 1
    assert list(journal.iterdir()) == []


def test_a_sweep_removes_what_the_notes_name_and_nothing_else(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.mkdir()
    other = tmp_path / ".0123456789ab.tmp.wav"
    other.touch()
    set_rules(None, journal)
    with temporary_path(tmp_path / "artifact.wav") as temporary:
        temporary.touch()
        temporary.with_suffix(".f32").touch()
        write_bytes(tmp_path / "published", b"it")
        (journal / "cut.unpublished").touch()  # its writer was killed before it said anything
        sweep(journal)
        assert set(tmp_path.iterdir()) == {journal, other, tmp_path / "published"}
        assert list(journal.iterdir()) == []


def test_a_sweep_of_what_is_gone_is_none(tmp_path: Path) -> None:
    sweep(tmp_path / "nowhere")
