"""The files of two jobs with one stem, of which one is going to be deleted (tests)."""

import os
from pathlib import Path

from shared.events.library import JobDeleted
from shared.layout import Layout
from tests.factories import event
from tests.unit.library.stories import JOB

OTHER = "01890000-0000-7000-8000-000000000002"
SOURCE = "uploads/up_1.mp4"
DELETED = event(JobDeleted, JOB, owner="local", base_dir="film", source=SOURCE)
FOLDER = {"film.dub.mkv", "manifests/mux.json", f"work/{JOB}/deep/er/final_mix.wav", "subs/film.pt.srt"}


def two_jobs(data: Path) -> Layout:
    """A finished job's files, and another's."""
    layout = Layout(data)
    layout.uploads.mkdir(parents=True)
    for number, job in enumerate((JOB, OTHER), start=1):
        base = layout.claim_base_dir(job, "film")
        layout.write_pointer(job, base, "film.mp4")
        for name in FOLDER:
            (layout.output / base / name).parent.mkdir(parents=True, exist_ok=True)
            (layout.output / base / name).write_text(name)
        (layout.input / f"uploads/up_{number}.mp4").write_text("video")
    return layout


def files(layout: Layout, job: str | None = None) -> set[str]:
    """All files, or those that are not the other job's."""
    others = (f"output/film-{OTHER[-12:]}/", f"output/jobs/{OTHER}/", "input/uploads/up_2.mp4") if job else ("\0",)
    found = {os.path.relpath(Path(at, name), layout.data) for at, _, names in os.walk(layout.data) for name in names}
    return {path for path in found if not path.startswith(others)}
