"""The mux stage: the finished files, and the subtitles inside and beside them.

Lives here: the stage and its two containers. Does not live here: the subtitles' planning (`subtitles`) and the sound
(`mix`). The picture is copied packet by packet; the sound starts at the source's origin, and the picture where it did.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ffmpeg as graph

from services.worker.engines.registry import Engines
from services.worker.stages.base import Fact, StageContext, StageError, StageResult
from services.worker.stages.language_tags import english_name, iso_639_2
from services.worker.stages.media_engine import EXACT, SAMPLE_RATE, ffmpeg_engine, measure
from services.worker.stages.subtitles import SubtitleTrack, source_texts, target_texts, write_subtitles
from shared.artifacts import atomic_path, describe
from shared.commands import StageCommand
from shared.events.types import EngineUsed, Issue
from shared.manifests import ImportedCues, SpeechManifest, Transcript, Translation
from shared.media_inputs import FILE
from shared.media_probe import MediaInfo, StreamInfo, probe

AAC_BITS_PER_CHANNEL = 96_000
"""192 kbit/s for stereo."""
MATROSKA_AUDIO = frozenset(
    {"aac", "ac3", "alac", "dts", "eac3", "flac", "mp2", "mp3", "opus", "truehd", "vorbis",
     "pcm_f32le", "pcm_s16le", "pcm_s24le", "pcm_s32le"}
)  # fmt: skip
"""Codecs that Matroska carries and players expect there; the original in any other is encoded."""
BROWSER_VIDEO = {"codec": "h264", "pixel_format": "yuv420p"}
"""What every browser decodes; any other picture is encoded for the mp4."""
X264 = {"c:v": "libx264", "preset": "veryfast", "crf": 20, "pix_fmt": "yuv420p"}
"""The predecessor's setting for its mp4."""
EVEN_SIZE = "scale=trunc(iw/2)*2:trunc(ih/2)*2"
"""4:2:0 needs even sides."""
ENCODE_TIMEOUT_FACTOR = 4.0
"""Encoding may take so many times the film's length, at least the usual limit."""
MAX_TRUE_PEAK_DBTP = -1.0
TOLERANCE_LU = 0.5


@dataclass(frozen=True)
class Parts:
    """Everything that goes into a container; languages are BCP 47."""

    source: Path
    info: MediaInfo
    video: StreamInfo
    original: StreamInfo
    original_language: str
    dub: Path
    dub_language: str
    dub_channels: int
    subtitles: tuple[SubtitleTrack, ...]
    threads: int

    @property
    def copies_for_browsers(self) -> bool:
        """AVI states no presentation times for reordered pictures: an mp4 needs them."""
        fits = all(getattr(self.video, name) == value for name, value in BROWSER_VIDEO.items())
        return fits and self.info.container != "avi"


def params(command: StageCommand) -> dict[str, Fact]:
    told: dict[str, Fact] = {} if command.job.keeping.transcript else {"subtitles": False}
    return {"tgt_lang": command.job.tgt_lang, "aac_bits_per_channel": AAC_BITS_PER_CHANNEL, "revision": 1, **told}


def engine(_command: StageCommand, _engines: Engines) -> EngineUsed:
    return ffmpeg_engine()


def run(context: StageContext) -> StageResult:
    """Raises StageError `missing_input` or `source_damaged`, FfmpegError, OSError."""
    transcript = Transcript.model_validate_json(context.input("transcript").read_bytes())
    translation = Translation.model_validate_json(context.input("translation").read_bytes())
    speech = SpeechManifest.model_validate_json(context.input("tts_manifest").read_bytes())
    subtitles = _subtitles(context, transcript, translation, speech)
    parts = _parts(context, subtitles, transcript.language, translation.target_language)
    timeout_s = max(context.ffmpeg.limits.run_timeout_s, speech.duration_s * ENCODE_TIMEOUT_FACTOR)

    outputs = [output for track in subtitles for output in track.outputs]
    files = (("dub_mkv", context.paths.dub_mkv, matroska_arguments), ("dub_mp4", context.paths.dub_mp4, mp4_arguments))
    for number, (name, target, arguments) in enumerate(files):
        with atomic_path(target) as temporary:
            context.ffmpeg.run(
                arguments(parts, temporary),
                timeout_s=timeout_s,
                progress=_progress(context, number / len(files), speech.duration_s * len(files), name),
            )
            if name == "dub_mkv":
                heard = measure(context.ffmpeg, temporary)
        outputs.append(describe(name, target, context.paths.output_root))

    target_lufs = float(context.command.facts["integrated_lufs"])
    issues = [issue for track in subtitles for issue in track.issues]
    if abs(heard.integrated - target_lufs) > TOLERANCE_LU or heard.true_peak > MAX_TRUE_PEAK_DBTP:
        detail = f"{heard.integrated:.1f} LUFS, {heard.true_peak:.1f} dBTP after encoding"
        issues.append(Issue(code="loudness_changed", stage="mux", detail=detail))
    issues += [
        Issue(code="no_subtitles", stage="mux", detail=f"no {track.role} cues") for track in subtitles if not track.cues
    ]
    facts: dict[str, Fact] = {
        "dub_lufs": heard.integrated,
        "dub_true_peak_dbtp": max(heard.true_peak, -200.0),
        "mp4_video": "copied" if parts.copies_for_browsers else "encoded",
        "subtitle_violations": sum(len(track.issues) for track in subtitles),
    }
    return StageResult(outputs, facts, issues)


def _subtitles(
    context: StageContext, transcript: Transcript, translation: Translation, speech: SpeechManifest
) -> tuple[SubtitleTrack, ...]:
    """Return the tracks; none of the source where a translation came without the words that it translates.

    None at all for a job of which no text is to be kept.
    """
    if not context.command.job.keeping.transcript:
        return ()
    target = write_subtitles(
        context.paths,
        "target",
        translation.target_language,
        target_texts(translation, speech),
        speech.duration_s,
        _imported(context, "imported_target_cues"),
    )
    if not transcript.segments:
        return (target,)
    source = write_subtitles(
        context.paths,
        "source",
        transcript.language,
        source_texts(transcript),
        speech.duration_s,
        _imported(context, "imported_source_cues"),
    )
    return target, source


def _imported(context: StageContext, name: str) -> ImportedCues | None:
    if name not in context.command.inputs:
        return None
    return ImportedCues.model_validate_json(context.input(name).read_bytes())


def matroska_arguments(parts: Parts, target: Path) -> list[str]:
    """Return the run for `<stem>.dub.mkv`: picture, dub (default), original, target and source subtitles."""
    source, dub, captions = _inputs(parts)
    copies = parts.original.codec in MATROSKA_AUDIO
    options: dict[str, Any] = {
        "c:v": "copy",
        **_dub_options(parts),
        "c:a:1": "copy" if copies else "aac",
        **({} if copies else {"b:a:1": AAC_BITS_PER_CHANNEL * parts.original.channels}),
        "disposition:a:1": "original",
        "c:s": "subrip",
        **_subtitle_options(parts),
        "default_mode": "passthrough",
    }
    streams = [source[str(parts.video.index)], dub.audio, source[str(parts.original.index)], *captions]
    tags = [*_tags("a:0", parts.dub_language, "dub"), *_tags("a:1", parts.original_language, "original")]
    return _arguments(streams, target, "matroska", options, [*tags, *_subtitle_tags(parts)])


def mp4_arguments(parts: Parts, target: Path) -> list[str]:
    """Return the run for `<stem>.dub.mp4`: what a browser plays, its index in front."""
    source, dub, captions = _inputs(parts)
    picture: dict[str, Any] = {"c:v": "copy"}
    if not parts.copies_for_browsers:
        picture = {**X264, "vf": EVEN_SIZE, "threads": parts.threads}
    options: dict[str, Any] = {
        **picture,
        **_dub_options(parts),
        "c:s": "mov_text",
        **_subtitle_options(parts),
        "movflags": "+faststart",
    }
    streams = [source[str(parts.video.index)], dub.audio, *captions]
    tags = [*_tags("a:0", parts.dub_language, "dub"), *_subtitle_tags(parts)]
    return _arguments(streams, target, "mp4", options, tags)


def _parts(
    context: StageContext, subtitles: tuple[SubtitleTrack, ...], original_language: str, dub_language: str
) -> Parts:
    info = probe(context.ffmpeg, context.source)
    wanted = context.command.job.source.audio.index
    original = next((stream for stream in info.streams if stream.index == wanted), None)
    if info.video is None or original is None:
        raise StageError("source_damaged", "the picture or the sound of the source is gone")
    return Parts(
        source=context.source,
        info=info,
        video=info.video,
        original=original,
        original_language=original_language,
        dub=context.input("final_mix"),
        dub_language=dub_language,
        dub_channels=int(context.command.facts["mix_channels"]),
        subtitles=tuple(_plain(context, track) for track in subtitles if track.cues),
        threads=context.ffmpeg.limits.threads,
    )


def _plain(context: StageContext, track: SubtitleTrack) -> SubtitleTrack:
    """Return the track with a file that ffmpeg can read."""
    sealed = next(output.sealed for output in track.outputs if output.path.endswith(".srt"))
    return replace(track, srt=context.plain(track.srt, sealed))


def _progress(context: StageContext, done: float, whole_s: float, name: str) -> Any:
    return lambda made_s: context.progress(min(0.99, done + made_s / whole_s), f"writing {name}")


def _inputs(parts: Parts) -> tuple[Any, Any, list[Any]]:
    timing = {"fflags": "+genpts"} if parts.info.container == "avi" else {}
    source = graph.input(f"{FILE}{parts.source}", **timing)
    captions = [graph.input(f"{FILE}{track.srt}", f="srt")["s:0"] for track in parts.subtitles]
    return source, graph.input(f"{FILE}{parts.dub}"), captions


def _dub_options(parts: Parts) -> dict[str, Any]:
    return {
        "c:a:0": "aac",
        "b:a:0": AAC_BITS_PER_CHANNEL * parts.dub_channels,
        "ar:a:0": SAMPLE_RATE,
        "disposition:v:0": "default",
        "disposition:a:0": "default+dub",
    }


def _subtitle_options(parts: Parts) -> dict[str, Any]:
    """No subtitle is on by itself: the dub speaks its viewer's language."""
    options: dict[str, Any] = {}
    for place, track in enumerate(parts.subtitles):
        options[f"disposition:s:{place}"] = "original" if track.role == "source" else "0"
    return options


def _subtitle_tags(parts: Parts) -> list[str]:
    return [
        option
        for place, track in enumerate(parts.subtitles)
        for option in _tags(f"s:{place}", track.language, "original" if track.role == "source" else "dub")
    ]


def _tags(stream: str, language: str, kind: str) -> list[str]:
    tags = (f"language={iso_639_2(language)}", f"title={english_name(language)} ({kind})")
    return [option for tag in tags for option in (f"-metadata:s:{stream}", tag)]


def _arguments(streams: list[Any], target: Path, muxer: str, options: dict[str, Any], tags: list[str]) -> list[str]:
    """Compose a run; ffmpeg-python knows no option that is given twice, so the tags go in before the output's name."""
    composed: list[str] = graph.output(*streams, f"{FILE}{target}", f=muxer, **options, **EXACT).get_args()
    return [*composed[:-1], *tags, composed[-1]]
