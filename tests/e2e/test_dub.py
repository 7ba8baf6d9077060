"""The finished dub of the sample: what a viewer sees, hears and reads (issue "A real dub", point 2)."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest

from services.worker.dubbing.captions import parse_srt, parse_vtt
from services.worker.dubbing.cue_check import violations
from services.worker.dubbing.fit import GUARD_S
from services.worker.engines.protocols import EngineOptions
from services.worker.engines.whisper import Whisper
from shared.ffmpeg import Ffmpeg
from shared.settings import default_models_dir
from tests.dubbed_sample import Dub
from tests.dubbing_system import SAMPLE

FRAME_S = 1 / 25
ONSET_TOLERANCE_S = 0.1
AUDIBLE_DB = -38.0
"""Above the room noise of the sample (-45 dB) and below any syllable."""

FFMPEG = Ffmpeg.find()


def ffprobe(path: Path, *arguments: str) -> dict[str, Any]:
    command = [FFMPEG.ffprobe, "-v", "error", "-of", "json", *arguments, path]
    result: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return result


def streams(path: Path) -> list[dict[str, Any]]:
    return list(ffprobe(path, "-show_streams")["streams"])


def decoded(path: Path, rate: int, *selection: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    command = [FFMPEG.ffmpeg, "-v", "error", "-i", path, *selection, "-ac", "1", "-ar", str(rate), "-f", "f32le", "-"]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.float32)


def packet_hash(path: Path) -> str:
    command = [FFMPEG.ffmpeg, "-v", "error", "-i", path, "-map", "0:v:0", "-c", "copy", "-f", "streamhash", "-"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def test_the_job_is_done_and_no_line_was_lost(dub: Dub) -> None:
    assert [line.index for line in dub.speech.lines] == [segment.index for segment in dub.transcript.segments]
    assert [issue["code"] for issue in dub.job["issues"]] == []


def test_the_recogniser_heard_the_reader(dub: Dub) -> None:
    reference = SAMPLE.with_suffix(".txt").read_text()
    heard = " ".join(segment.text for segment in dub.transcript.segments)
    assert error_rate(reference, heard) <= 0.1


def error_rate(reference: str, heard: str) -> float:
    """Word error rate without case and punctuation; a hyphen parts words, as in Whisper's own normaliser."""
    return float(jiwer.wer(plain(reference), plain(heard)))


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", " ", text.lower()).split())


def test_the_dub_transcribed_back_is_the_translation(dub: Dub) -> None:
    pcm = decoded(dub.artifact("mux", "dub_mkv"), 16_000, "-map", "0:a:0")
    heard = Whisper(EngineOptions(default_models_dir())).transcribe(pcm, "pt", lambda _done: None)
    text = " ".join(segment.text for segment in heard.segments)
    wanted = " ".join(segment.text for segment in dub.translation.segments)
    assert error_rate(wanted, text) <= 0.10, (wanted, text)


def test_each_line_starts_where_the_original_does(dub: Dub) -> None:
    """Both onsets are measured on the sound, not read from a plan."""
    original = levels(decoded(SAMPLE, 16_000))
    dubbed = levels(decoded(dub.artifact("tts", "dialogue"), 16_000))
    ends = [0.0, *(line.end for line in dub.speech.lines)]
    for segment, before in zip(dub.transcript.segments, ends, strict=False):
        said = onset(original, segment.start, segment.start - 0.4)
        spoken = onset(dubbed, segment.start, max(segment.start - 0.4, before + 0.01))
        assert abs(spoken - said) <= ONSET_TOLERANCE_S, (segment.index, spoken, said)


def levels(pcm: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """dB of full scale in frames of 10 ms."""
    frames = pcm[: len(pcm) // 160 * 160].reshape(-1, 160)
    power: np.ndarray[Any, np.dtype[np.float64]] = 10 * np.log10(
        np.mean(frames.astype(np.float64) ** 2, axis=1) + 1e-12
    )
    return power


def onset(track: np.ndarray[Any, np.dtype[np.float64]], near_s: float, from_s: float) -> float:
    """The first moment from which the voice is heard for at least 50 ms."""
    heard = track > AUDIBLE_DB
    first = max(round(from_s * 100), 0)
    return next(at / 100 for at in range(first, round(near_s * 100) + 100) if heard[at : at + 5].all())


def test_no_line_is_stretched_beyond_the_limit_or_runs_into_the_next(dub: Dub) -> None:
    for line in dub.speech.lines:
        assert 0.85 <= line.stretch <= 1.30
        assert line.fits
        assert line.end <= line.slot_end + GUARD_S, "overlap-add may add a few ms, but the next line must be free"


def test_loudness_and_true_peak(dub: Dub) -> None:
    for selection in (("dub_mkv", "0:a:0"), ("dub_mp4", "0:a:0")):
        path = dub.artifact("mux", selection[0])
        command = [
            FFMPEG.ffmpeg,
            "-nostats",
            "-i",
            path,
            "-map",
            selection[1],
            "-af",
            "ebur128=peak=true",
            "-f",
            "null",
            "-",
        ]
        report = subprocess.run(command, capture_output=True, check=True, text=True).stderr.rsplit("Summary:", 1)[1]
        integrated = float(report.split("I:")[1].split("LUFS")[0])
        true_peak = float(report.split("Peak:")[1].split("dBFS")[0])
        assert abs(integrated - -16.0) <= 0.5
        assert true_peak <= -1.0


def test_the_streams_of_the_mkv(dub: Dub) -> None:
    video, dubbed, original, target, source = streams(dub.artifact("mux", "dub_mkv"))
    assert (video["codec_type"], video["codec_name"]) == ("video", "h264")
    for track, language in ((dubbed, "por"), (original, "eng")):
        assert (track["codec_type"], track["channels"], track["sample_rate"]) == ("audio", 2, "48000")
        assert track["tags"]["language"] == language
    # Matroska has no flag for a dub: the title says it.
    assert (dubbed["disposition"]["default"], "dub" in dubbed["tags"]["title"]) == (1, True)
    assert (original["disposition"]["default"], original["disposition"]["original"]) == (0, 1)
    for track, language in ((target, "por"), (source, "eng")):
        assert (track["codec_name"], track["tags"]["language"]) == ("subrip", language)


def test_the_streams_of_the_mp4_play_in_a_browser(dub: Dub) -> None:
    path = dub.artifact("mux", "dub_mp4")
    found = streams(path)
    assert [(s["codec_type"], s["codec_name"]) for s in found[:2]] == [("video", "h264"), ("audio", "aac")]
    assert found[0]["pix_fmt"] == "yuv420p"
    assert found[1]["tags"]["language"] == "por"
    assert path.read_bytes()[:4096].find(b"moov") > 0, "the index must come first, so that playback starts at once"


@pytest.mark.parametrize("name", ["dub_mkv", "dub_mp4"])
def test_the_picture_is_untouched_and_its_length_kept_to_the_frame(dub: Dub, name: str) -> None:
    path = dub.artifact("mux", name)
    assert packet_hash(path) == packet_hash(SAMPLE)
    original, made = picture(SAMPLE), picture(path)
    assert made.frames == original.frames
    assert abs(made.shown_s - original.shown_s) < FRAME_S / 2


@dataclass(frozen=True)
class Picture:
    frames: int
    shown_s: float


def picture(path: Path) -> Picture:
    """From the first frame's start to the last one's end, by the packets: containers round and pad their durations."""
    packets = ffprobe(path, "-select_streams", "v:0", "-show_entries", "packet=pts_time,duration_time")["packets"]
    times = sorted(float(packet["pts_time"]) for packet in packets)
    return Picture(len(packets), times[-1] - times[0] + float(packets[-1]["duration_time"]))


def test_the_dub_is_as_long_as_the_picture(dub: Dub) -> None:
    track = decoded(dub.artifact("mux", "dub_mkv"), 48_000, "-map", "0:a:0")
    assert abs(len(track) / 48_000 - picture(SAMPLE).shown_s) <= FRAME_S


@pytest.mark.parametrize(("role", "language"), [("source", "en"), ("target", "pt")])
def test_subtitles_are_complete_and_obey_the_limits(dub: Dub, role: str, language: str) -> None:
    srt = parse_srt(dub.artifact("mux", f"subs_{role}_srt").read_text())
    vtt = parse_vtt(dub.artifact("mux", f"subs_{role}_vtt").read_text())
    assert violations(srt, language) == []
    assert [cue.text for cue in srt] == [cue.text for cue in vtt]
    segments = dub.transcript.segments if role == "source" else dub.translation.segments
    shown = " ".join(" ".join(cue.text.split()) for cue in srt)
    assert shown.split() == " ".join(segment.text for segment in segments).split()


def test_a_second_dub_of_the_same_video_reuses_every_stage(dub: Dub) -> None:
    """Through the command that a user types."""
    done = dub.system.dub(SAMPLE, "--to", "pt")
    assert done.returncode == 0, done.stderr
    newest = dub.system.get("/api/jobs?limit=1")["items"][0]
    assert newest["id"] != dub.id
    again = Dub(dub.system, dub.system.get(f"/api/jobs/{newest['id']}"))
    assert again.base != dub.base
    for stage in ("audio", "transcribe", "translate", "tts", "mix", "mux"):
        assert again.manifest(stage)["reused_from"] == dub.id
    assert again.artifact("mux", "dub_mkv").read_bytes() == dub.artifact("mux", "dub_mkv").read_bytes()
