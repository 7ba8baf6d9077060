"""Jobs that bring their own subtitles: what they bring is not made again, and is what a viewer reads."""

from pathlib import Path
from typing import Any

from services.worker.dubbing.captions import Cue, parse_srt
from tests import local_http
from tests.dubbing_system import System, excerpt

SRC = """1
00:00:01,000 --> 00:00:04,000
The family of Dashwood
had long been settled in Sussex.

2
00:00:05,000 --> 00:00:08,500
Their estate was <i>large</i>.
"""
TGT = """WEBVTT

00:01.000 --> 00:04.000
A família Dashwood vivia
há muito em Sussex.

00:05.000 --> 00:08.500
A propriedade era grande.
"""


def submit(system: System, video: Path, **imports: str) -> str:
    with video.open("rb") as file:
        files: dict[str, Any] = {"file": (video.name, file)}
        files |= {name: (f"{name}.txt", text.encode()) for name, text in imports.items()}
        form = {"tgt_lang": "pt", "src_lang": "en"}
        answer = local_http.post(f"{system.url}/api/jobs", data=form, files=files, timeout=60)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def subtitles(system: System, job: dict[str, Any], language: str) -> list[Cue] | None:
    path = system.base_dir(job["id"]) / "subs" / f"{job['stem']}.{language}.srt"
    return parse_srt(path.read_text()) if path.exists() else None


def imported(job: dict[str, Any]) -> set[str]:
    return {stage["stage"] for stage in job["stages"] if stage["reused_from"] == "import"}


def test_imported_lines_are_the_subtitles_and_their_stages_are_not_run(system: System, tmp_path: Path) -> None:
    with_source = submit(system, excerpt(tmp_path, 701, 9.0), src_srt=SRC)
    with_target = submit(system, excerpt(tmp_path, 702, 9.0), tgt_srt=TGT)
    estimate = {"duration_s": 12.0, "tgt_lang": "pt", "src_lang": "en", "src_srt_text": SRC}
    told = local_http.post(f"{system.url}/api/jobs/estimate", json=estimate, timeout=20)
    assert told.status_code == 200, told.text
    assert [stage["stage"] for stage in told.json()["stages"]] == ["audio", "translate", "tts", "mix", "mux"]
    assert told.json()["total"]["low"] <= told.json()["total"]["expected"] <= told.json()["total"]["high"]
    assert told.json()["admission"]["admitted"]

    first = system.finished(with_source)
    assert (first["state"], imported(first)) == ("DONE", {"transcribe"})
    assert subtitles(system, first, "en") == parse_srt(SRC)
    assert len(subtitles(system, first, "pt") or []) >= 2

    second = system.finished(with_target)
    assert (second["state"], imported(second)) == ("DONE", {"transcribe", "translate"})
    shown = [(1.0, 4.0, "A família Dashwood vivia\nhá muito em Sussex."), (5.0, 8.5, "A propriedade era grande.")]
    assert subtitles(system, second, "pt") == [Cue(*cue) for cue in shown]
    assert subtitles(system, second, "en") is None  # nobody has heard what is said
    assert (system.base_dir(with_target) / f"{second['stem']}.dub.mkv").stat().st_size > 0

    page = local_http.get(f"{system.url}/ui/jobs/{with_target}", timeout=10)
    assert page.text.count("imported with the submission") == 2

    local_http.post(f"{system.url}/api/jobs/{with_target}/rerun", timeout=10).raise_for_status()
    again = system.until(with_target, lambda job: job["run"] == 2 and job["state"] in ("DONE", "FAILED"))
    assert (again["state"], imported(again)) == ("DONE", {"transcribe", "translate"})
