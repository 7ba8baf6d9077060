"""The files that imported lines become: the same manifests that the skipped stages would have written.

Lives here: from lines to files in the job's work directory, and what the submission's event says of them (names, sizes
and digests, never a text: E8). Does not live here: reading the lines (`reading`). Blocks: for a thread.

With subtitles of the target language only, nothing is recognised either: the words of the original are needed by no
stage then. The transcript is empty, and there are no source subtitles.
"""

from collections.abc import Sequence

from services.ingest.fields import AUTO
from services.ingest.imports.reading import Imported
from services.ingest.imports.subtitles import Line
from shared.artifacts import Artifact, describe
from shared.events.names import Stage
from shared.events.types import ImportedStage
from shared.layout import JobPaths
from shared.manifests import (
    ImportedCue,
    ImportedCues,
    Manifest,
    Segment,
    Transcript,
    TranslatedSegment,
    Translation,
)

UNDETERMINED = "und"
ROUTE = "import"


def write_imports(
    imported: Imported, paths: JobPaths, token: str, languages: tuple[str, str], duration_s: float
) -> dict[Stage, ImportedStage]:
    """Write the files and return the stages that are done with them.

    `token` is the submission's own and part of each name: of two submissions that race for one job, none writes over
    the other's. `languages` are source and target. Raises OSError, SealError.
    """
    if not imported:
        return {}
    source, target = languages
    source = UNDETERMINED if source == AUTO else source
    said = Transcript(
        language=source, language_probability=1.0, duration_s=duration_s, segments=_segments(imported.source)
    )
    made = _Files(paths, token)
    outputs = [made.write("transcript", said)]
    if imported.source_cues:
        outputs.append(made.write("imported_source_cues", _cues(imported.source)))
    facts = {"language": source, "language_probability": 1.0, "segments": len(said.segments)}
    stages: dict[Stage, ImportedStage] = {"transcribe": ImportedStage(outputs=outputs, facts=facts)}
    if imported.target:
        translation = Translation(
            source_language=source,
            target_language=target,
            route=[ROUTE],
            segments=_translated(imported.target, imported.source),
        )
        outputs = [made.write("translation", translation), made.write("imported_target_cues", _cues(imported.target))]
        facts = {"translation_route": ROUTE, "translated_segments": len(imported.target)}
        stages["translate"] = ImportedStage(outputs=outputs, facts=facts)
    return stages


def remove_imports(paths: JobPaths, token: str) -> None:
    """Take back what a submission wrote; the directory goes if nothing else is in it. Raises OSError."""
    for file in paths.work.glob(f"{token}.*.json"):
        file.unlink(missing_ok=True)
    for directory in (paths.work, paths.work.parent):
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()


class _Files:
    def __init__(self, paths: JobPaths, token: str) -> None:
        self._paths = paths
        self._token = token

    def write(self, name: str, manifest: Manifest) -> Artifact:
        path = self._paths.work / f"{self._token}.{name}.json"
        manifest.write(path)
        return describe(name, path, self._paths.output_root)


def _one_line(text: str) -> str:
    return " ".join(text.split("\n"))


def _segments(lines: Sequence[Line]) -> list[Segment]:
    return [
        Segment(index=index, start=line.start, end=line.end, text=_one_line(line.text), words=[], avg_logprob=0.0)
        for index, line in enumerate(lines)
    ]


def _translated(lines: Sequence[Line], source: Sequence[Line]) -> list[TranslatedSegment]:
    """Each line has for its source text what was said in its middle, or nothing."""
    found: list[TranslatedSegment] = []
    place = 0
    for index, line in enumerate(lines):
        middle = (line.start + line.end) / 2
        while place < len(source) and source[place].end <= middle:
            place += 1
        said = source[place].text if place < len(source) and source[place].start <= middle else ""
        found.append(
            TranslatedSegment(
                index=index, start=line.start, end=line.end, source_text=_one_line(said), text=_one_line(line.text)
            )
        )
    return found


def _cues(lines: Sequence[Line]) -> ImportedCues:
    return ImportedCues(cues=[ImportedCue(start=line.start, end=line.end, text=line.text) for line in lines])
