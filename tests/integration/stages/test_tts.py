"""The tts stage on a real voice: what its settings change, what a kill costs, and how an engine's failures are told."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from services.worker.engines.hibari import Hibari
from services.worker.engines.protocols import EngineError, EngineOptions, Samples
from services.worker.engines.registry import Engines
from services.worker.execution import execute
from services.worker.stages import tts
from services.worker.stages.base import StageContext, StageError
from shared.artifacts import describe
from shared.commands import StageCommand
from shared.events.envelope import Value
from shared.ffmpeg import Ffmpeg
from shared.keeping import Keeping
from shared.layout import Layout
from shared.manifests import SpeechManifest, StageManifest, TranslatedSegment, Translation
from tests.factories import command, submitted_data

ROOM_S = 4.0
LINES = ("The first line.", "And the second one.", "Now comes the third.", "The fourth is here.", "Five ends it.")
LONG = "This sentence has many more words than the little time that it is given."


class Speaking(Hibari):
    """The real voice; it also notes what it was asked to say."""

    def __init__(self, options: EngineOptions) -> None:
        super().__init__(options)
        self.said: list[tuple[str, float]] = []

    def synthesize(self, text: str, language: str, voice: str, rate: float) -> tuple[Samples, int]:
        self.said.append((text, rate))
        return super().synthesize(text, language, voice, rate)


class Second(Hibari):
    name, preference = "second", 60


class Slow(Hibari):
    name, preference, fast = "slow", 40, False


class Hanging(Hibari):
    """Says so, and stops, in the middle of the fourth line."""

    def synthesize(self, text: str, language: str, voice: str, rate: float) -> tuple[Samples, int]:
        if text == LINES[3]:
            sys.stdout.write("in the fourth line\n")
            sys.stdout.flush()
            time.sleep(600)
        return super().synthesize(text, language, voice, rate)


class Exhausted(Hibari):
    def synthesize(self, text: str, language: str, voice: str, rate: float) -> tuple[Samples, int]:  # noqa: ARG002 -- an engine's signature
        raise RuntimeError("Failed to allocate memory for requested buffer of size 4096")


class Mute(Hibari):
    def synthesize(self, text: str, language: str, voice: str, rate: float) -> tuple[Samples, int]:  # noqa: ARG002 -- an engine's signature
        raise EngineError("hibari: not today")


class Reciting(Hibari):
    def synthesize(self, text: str, language: str, voice: str, rate: float) -> tuple[Samples, int]:
        if text != LINES[1]:
            return super().synthesize(text, language, voice, rate)
        raise ValueError(text)


def job(root: Path, lines: Sequence[str] = LINES, room_s: float = ROOM_S, **changes: Any) -> StageCommand:
    """Return the command of a job whose translation lies below `root`, with one line every `room_s`."""
    layout = Layout(root)
    paths = layout.job("job", "film", "film")
    segments = [
        TranslatedSegment(index=i, start=room_s * i, end=room_s * i + 0.9 * room_s, source_text="…", text=text)
        for i, text in enumerate(lines)
    ]
    Translation(source_language="pt", target_language="en", route=["test"], segments=segments).write(paths.translation)
    data = submitted_data(src_lang="pt", tgt_lang="en")
    source = layout.input / data.source.path
    source.parent.mkdir(parents=True, exist_ok=True)
    source.touch()
    inputs = {"translation": describe("translation", paths.translation, layout.output)}
    facts: dict[str, Value] = {"duration_s": room_s * len(lines)}
    return command("job", "tts", job=data, inputs=inputs, facts=facts, **changes)


def context(root: Path, order: StageCommand, voice: Hibari) -> StageContext:
    layout = Layout(root)
    paths = layout.job(order.job_id, order.job.base_dir, order.job.stem)
    engines = Engines(EngineOptions(root), {"tts": [lambda _: voice]})
    ffmpeg = Ffmpeg.find(log_dir=paths.ffmpeg_logs)
    return StageContext(order, layout, paths, root, engines, ffmpeg, lambda _fraction, _message: None)


def spoken(root: Path) -> SpeechManifest:
    return SpeechManifest.model_validate_json(Layout(root).job("job", "film", "film").speech_manifest.read_bytes())


def hang(root: str) -> None:
    """What the process that will be killed runs."""
    tts.run(context(Path(root), job(Path(root)), Hanging(EngineOptions(Path(root)))))


def test_a_killed_synthesis_goes_on_with_the_first_line_that_has_no_take(tmp_path: Path) -> None:
    program = f"from {__name__} import hang; hang({str(tmp_path)!r})"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in the fourth line\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL
    takes = {path: path.stat().st_mtime_ns for path in Layout(tmp_path).takes.rglob("*.wav")}
    assert len(takes) == 3
    assert not Layout(tmp_path).job("job", "film", "film").dialogue.exists()

    voice = Speaking(EngineOptions(tmp_path))
    result = tts.run(context(tmp_path, job(tmp_path), voice))

    assert [text for text, _ in voice.said] == list(LINES[3:])
    assert result.facts["takes_synthesised"] == 2
    assert [line.text for line in spoken(tmp_path).lines] == list(LINES)
    assert {path: path.stat().st_mtime_ns for path in takes} == takes, "what was spoken is not written again"


def test_lines_of_a_job_that_keeps_no_text_are_cached_in_its_own_directory(tmp_path: Path) -> None:
    """They go with it at its end, and no other job's are taken away with them."""
    order = job(tmp_path, LINES[:2])
    own = order.model_copy(update={"job": order.job.model_copy(update={"keeping": Keeping(transcript=False)})})
    tts.run(context(tmp_path, own, Speaking(EngineOptions(tmp_path))))
    layout = Layout(tmp_path)
    assert len(list((layout.job("job", "film", "film").work / "takes").iterdir())) == 2
    assert not layout.takes.exists()
    again = Speaking(EngineOptions(tmp_path))
    tts.run(context(tmp_path, own, again))
    assert again.said == []


@pytest.mark.parametrize("timing_fit", [True, False])
def test_a_line_that_is_too_long_is_spoken_again_only_with_timing_fit(tmp_path: Path, *, timing_fit: bool) -> None:
    voice = Speaking(EngineOptions(tmp_path))
    order = job(tmp_path, [LONG, LONG + " And this one too."], room_s=2.5, settings={"timing_fit": timing_fit})
    tts.run(context(tmp_path, order, voice))
    rates = [rate for _, rate in voice.said]
    lines = spoken(tmp_path).lines
    assert rates == ([1.0, 1.15, 1.0, 1.15] if timing_fit else [1.0, 1.0])
    assert [line.engine_rate for line in lines] == ([1.15, 1.15] if timing_fit else [1.0, 1.0])
    assert all(line.stretch > 1.1 for line in lines)


def test_the_settings_that_change_the_speech_are_in_its_key(tmp_path: Path) -> None:
    order = job(tmp_path)
    found = [
        tts.params(order.model_copy(update={"settings": settings}))
        for settings in ({}, {"timing_fit": False}, {"fast_voice": True})
    ]
    assert all(found.count(each) == 1 for each in found)


@pytest.mark.parametrize(("fast_voice", "name"), [(True, "hibari"), (False, "slow")])
def test_the_setting_decides_which_voice_comes_first(tmp_path: Path, *, fast_voice: bool, name: str) -> None:
    engines = Engines(EngineOptions(tmp_path), {"tts": [Hibari, Slow]})
    assert tts.engine(job(tmp_path, settings={"fast_voice": fast_voice}), engines).name == name


def test_a_fast_voice_that_was_wanted_in_vain_is_an_issue(tmp_path: Path) -> None:
    order = job(tmp_path, settings={"fast_voice": True})
    result = tts.run(context(tmp_path, order, Slow(EngineOptions(tmp_path))))
    assert [issue.code for issue in result.issues] == ["no_fast_voice"]


def test_a_voice_without_memory_ends_the_stage_with_the_code_for_a_smaller_try(tmp_path: Path) -> None:
    with pytest.raises(StageError) as failure:
        tts.run(context(tmp_path, job(tmp_path), Exhausted(EngineOptions(tmp_path))))
    assert (failure.value.code, failure.value.engine, failure.value.retryable) == ("out_of_memory", "hibari", True)


def test_a_voice_that_fails_at_every_line_is_a_failed_engine(tmp_path: Path) -> None:
    with pytest.raises(StageError) as failure:
        tts.run(context(tmp_path, job(tmp_path), Mute(EngineOptions(tmp_path))))
    assert (failure.value.code, failure.value.engine, failure.value.retryable) == ("engine_failed", "hibari", True)


def test_lines_without_a_word_are_not_the_engine_s_fault(tmp_path: Path) -> None:
    with pytest.raises(StageError) as failure:
        tts.run(context(tmp_path, job(tmp_path, ["♪", "..."]), Hibari(EngineOptions(tmp_path))))
    assert (failure.value.code, failure.value.engine, failure.value.retryable) == ("nothing_spoken", None, False)


def test_one_line_that_crashes_the_voice_costs_no_other_one(tmp_path: Path) -> None:
    result = tts.run(context(tmp_path, job(tmp_path), Reciting(EngineOptions(tmp_path))))
    assert [(issue.code, issue.segment) for issue in result.issues] == [("line_not_spoken", 1)]
    assert len(spoken(tmp_path).lines) == len(LINES) - 1


class TestExecution:
    """What belongs to the command is told with the outcome, and never re-used with the result."""

    def run(self, root: Path, order: StageCommand, engines: Engines) -> Any:
        return execute(order, Layout(root), engines, Ffmpeg.find(), lambda _fraction, _message: None)

    def test_another_engine_than_the_avoided_one_is_an_issue(self, tmp_path: Path) -> None:
        engines = Engines(EngineOptions(tmp_path), {"tts": [Hibari, Second]})
        finished = self.run(tmp_path, job(tmp_path, avoid=["hibari"]), engines)
        assert finished.engine.name == "second"
        (issue,) = finished.issues
        assert (issue.code, issue.stage) == ("engine_fallback", "tts")
        assert issue.detail.startswith("second instead of hibari")

    def test_the_avoided_engine_runs_where_there_is_no_other(self, tmp_path: Path) -> None:
        finished = self.run(
            tmp_path, job(tmp_path, avoid=["hibari"]), Engines(EngineOptions(tmp_path), {"tts": [Hibari]})
        )
        assert (finished.engine.name, finished.issues) == ("hibari", [])

    def test_what_was_made_smaller_is_an_issue_of_this_run_alone(self, tmp_path: Path) -> None:
        engines = Engines(EngineOptions(tmp_path), {"tts": [Hibari]})
        settings: dict[str, Value] = {"fast_voice": True, "made_smaller": "fast_voice True instead of False"}
        first = self.run(tmp_path, job(tmp_path, settings=settings), engines)
        again = self.run(tmp_path, job(tmp_path, settings={"fast_voice": True}), engines)
        assert [(issue.code, issue.detail) for issue in first.issues] == [
            ("settings_made_smaller", "out of memory: fast_voice True instead of False")
        ]
        assert again.reused_from == "job"
        assert again.issues == []
        receipt = Layout(tmp_path).job("job", "film", "film").stage_manifest("tts")
        assert StageManifest.model_validate_json(receipt.read_bytes()).issues == []

    def test_a_language_that_nobody_speaks_fails_at_once(self, tmp_path: Path) -> None:
        engines = Engines(EngineOptions(tmp_path), {"tts": [Hibari]})
        order = job(tmp_path)
        order = order.model_copy(update={"job": order.job.model_copy(update={"tgt_lang": "ja"})})
        with pytest.raises(StageError, match="no tts engine speaks 'ja'") as failure:
            self.run(tmp_path, order, engines)
        assert (failure.value.code, failure.value.retryable) == ("no_engine", False)

    def test_the_record_names_the_device_that_really_ran(self, tmp_path: Path) -> None:
        class Hopeful(Hibari):
            """Finds out while loading that the GPU cannot be used."""

            def device(self) -> str:
                return "cpu" if self.loaded() else "cuda"

        engines = Engines(EngineOptions(tmp_path), {"tts": [Hopeful]})
        first = self.run(tmp_path, job(tmp_path), engines)
        again = self.run(tmp_path, job(tmp_path), engines)
        assert first.engine.device == "cpu"
        assert (again.key, again.reused_from) == (first.key, "job")
