"""The schema of every JSON file below the output root.

Lives here: what the files contain. Does not live here: where they are (`shared.layout`) and how they are
written (`shared.artifacts`). Times inside media are seconds from the start of the source, as floats.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.artifacts import Artifact, write_bytes
from shared.events.names import Stage
from shared.events.types import EngineUsed, Issue, Timings


class Manifest(BaseModel):
    """Base of every file schema; `version` grows only with an incompatible change."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal[1] = 1

    def write(self, path: Path) -> None:
        """Write atomically and durably, as stable, readable JSON. Raises OSError."""
        write_bytes(path, self.model_dump_json(indent=2).encode() + b"\n")


class Word(BaseModel):
    """One recognised word; `probability` is the recogniser's, 0..1."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    start: float
    end: float
    text: str
    probability: float


class Segment(BaseModel):
    """A unit of dubbing: about a sentence, spoken without a long pause. Not a subtitle cue."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    index: int
    start: float
    end: float
    text: str
    words: list[Word]
    avg_logprob: float


class Transcript(Manifest):
    """transcript.json: what was said in the source, and when."""

    language: str
    language_probability: float
    duration_s: float
    segments: list[Segment]


class TranslatedSegment(BaseModel):
    """The translation of the segment with the same index; `unknown_words` were left untranslated."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    index: int
    start: float
    end: float
    source_text: str
    text: str
    unknown_words: int = 0


class Translation(Manifest):
    """translation.json: the target text of every segment, and the route of engines that made it."""

    source_language: str
    target_language: str
    route: list[str]
    segments: list[TranslatedSegment]


class ImportedCue(BaseModel):
    """One subtitle as it came with the submission; `text` keeps its own line breaks."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    start: float
    end: float
    text: str


class ImportedCues(Manifest):
    """Subtitles that came with the submission and are shown as they are; beside transcript.json or translation.json."""

    cues: list[ImportedCue]


class SpokenLine(BaseModel):
    """One take, placed: `natural_s` is the take's own length, `stretch` how much faster it plays (1.0: as spoken).

    `take` is the key of the take in the owner's take cache (`Layout.take`).
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    index: int
    start: float
    end: float
    slot_end: float
    text: str
    voice: str
    natural_s: float
    engine_rate: float
    stretch: float
    fits: bool
    take: str


class SpeechManifest(Manifest):
    """tts_manifest.json: every spoken line and the dialogue track they were placed on."""

    sample_rate: int
    duration_s: float
    voice: str
    lines: list[SpokenLine]


class StageManifest(Manifest):
    """manifests/<stage>.json: the receipt of one finished stage; `key` decides whether it may be re-used."""

    job_id: str
    stage: Stage
    part: int
    key: str
    inputs: list[Artifact]
    params: dict[str, str | int | float | bool]
    engine: EngineUsed
    outputs: list[Artifact]
    facts: dict[str, str | int | float | bool]
    issues: list[Issue]
    timings: Timings
    created_at: str
    reused_from: str | None = None


class JobInfo(BaseModel):
    """The `job` member of job.json; times are UTC, ISO 8601 with milliseconds."""

    id: str
    owner_id: str
    visibility: str = "private"
    created_at: str
    updated_at: str
    mode: str
    device: str
    src_lang: str
    tgt_lang: str
    state: str


def _never_null(schema: dict[str, Any]) -> None:
    """Say in a schema that a member is absent where there is nothing, and not null."""
    alternatives = schema.pop("anyOf")
    schema.pop("default")
    schema |= next(each for each in alternatives if each != {"type": "null"})


OptionalPath = Annotated[str | None, Field(json_schema_extra=_never_null)]


class JobLayoutInfo(BaseModel):
    """The `layout` member of job.json; paths are relative to the output root, which is named as it was configured."""

    output_root: str
    base_dir_rel: str
    jobs_ptr_rel: str
    work_dir_rel: OptionalPath = None


class SpecialFiles(BaseModel):
    """The `special` member of job.json: files that other tools look for, relative to the base dir."""

    stream_manifest: OptionalPath = None
    tts_manifest: OptionalPath = None
    review_state: OptionalPath = None
    qa_summary: OptionalPath = None


class JobOutputs(BaseModel):
    """The `outputs` member of job.json; all paths are relative to the base dir, `primary` and `mobile` by kind."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    primary: dict[str, str] = {}
    mobile: dict[str, str] = {}
    tracks: list[str] = []
    subs: list[str] = []


class PrivacyFlags(BaseModel):
    """The `privacy` member of job.json: what its owner wanted not to be kept."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    privacy_mode: bool = False
    no_store_transcript: bool = False
    no_store_source_audio: bool = False
    minimal_artifacts: bool = False


class JobManifest(Manifest):
    """manifests/job.json: the thin index of one job's base directory, a projection of the log.

    Version 1 changes only by addition: readers ignore members that they do not know, and take `{}` or `[]` for what an
    older writer left out.
    """

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    job: JobInfo
    layout: JobLayoutInfo
    manifests: dict[str, str] = {}
    """Stage -> its manifest, relative to the base dir, of the stages that are done."""
    special: SpecialFiles = SpecialFiles()
    outputs: JobOutputs = JobOutputs()
    privacy: PrivacyFlags = PrivacyFlags()

    def encode(self) -> bytes:
        """Return the bytes of the file: stable, readable, without the members for which there is nothing."""
        return self.model_dump_json(indent=2, exclude_none=True).encode() + b"\n"


class ReuseEntry(Manifest):
    """_state/stages/<owner>/<key>.json: the job whose finished stage has this key, and where its files lie."""

    job_id: str
    base_dir: str
    stem: str
    stage: Stage
