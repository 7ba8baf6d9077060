"""The subtitle files of a dub: both languages, as SubRip and WebVTT.

Lives here: from transcript, translation and placed lines to files. Does not live here: how cues are planned, checked
and written as text (`dubbing`), and where they go inside a container (`mux`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from services.worker.dubbing.captions import Cue, format_srt, format_vtt
from services.worker.dubbing.cue_check import violations
from services.worker.dubbing.cue_tokens import SpokenText
from services.worker.dubbing.cues import plan_cues
from shared.artifacts import Artifact, describe, write_bytes
from shared.events.types import Issue
from shared.layout import JobPaths
from shared.manifests import ImportedCues, SpeechManifest, Transcript, Translation

Role = Literal["target", "source"]


@dataclass(frozen=True)
class SubtitleTrack:
    """The files of one language; `cues` is how many there are (an empty file cannot be a track)."""

    role: Role
    language: str
    srt: Path
    cues: int
    outputs: list[Artifact]
    issues: list[Issue]


def source_texts(transcript: Transcript) -> list[SpokenText]:
    """Return what was said, when it was said, in order."""
    texts = [SpokenText(said.start, said.end, said.text, said.words) for said in transcript.segments]
    return sorted(texts, key=lambda text: text.start)


def target_texts(translation: Translation, speech: SpeechManifest) -> list[SpokenText]:
    """Return the translation when the dub says it; where it could not be spoken, when the original did."""
    spoken = {line.index: line for line in speech.lines}
    texts = []
    for said in translation.segments:
        placed = spoken.get(said.index, said)
        texts.append(SpokenText(placed.start, placed.end, said.text))
    return sorted(texts, key=lambda text: text.start)


def imported_cues(imported: ImportedCues) -> list[Cue]:
    """Return subtitles that came with the submission, as they are."""
    return [Cue(cue.start, cue.end, cue.text) for cue in imported.cues]


def write_subtitles(
    paths: JobPaths,
    role: Role,
    language: str,
    texts: Sequence[SpokenText],
    duration_s: float,
    imported: ImportedCues | None = None,
) -> SubtitleTrack:
    """Plan the cues, unless they are imported, write both files, and report every broken rule as an issue.

    Raises OSError.
    """
    cues = plan_cues(texts, language=language, duration_s=duration_s) if imported is None else imported_cues(imported)
    outputs = []
    for extension, text in (("srt", format_srt(cues)), ("vtt", format_vtt(cues))):
        path = paths.subtitle(language, extension)
        write_bytes(path, text.encode())
        outputs.append(describe(f"subs_{role}_{extension}", path, paths.output_root))
    issues = [
        Issue(
            code="subtitle_violation",
            stage="mux",
            detail=f"{role} cue {broken.index + 1}: {broken.rule}, {broken.measured:g} of {broken.limit:g}",
        )
        for broken in violations(cues, language)
    ]
    return SubtitleTrack(role, language, paths.subtitle(language, "srt"), len(cues), outputs, issues)
