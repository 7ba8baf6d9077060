"""The schema of every JSON file below the output root.

Lives here: what the files contain. Does not live here: where they are (`shared.layout`) and how they are
written (`shared.artifacts`). Times inside media are seconds from the start of the source, as floats.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

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
    """The `job` member of job.json."""

    id: str
    owner_id: str
    created_at: str
    updated_at: str
    mode: str
    device: str
    src_lang: str
    tgt_lang: str
    state: str


class JobLayoutInfo(BaseModel):
    """The `layout` member of job.json; paths are relative to the output root, which is named as it was configured."""

    output_root: str
    base_dir_rel: str
    jobs_ptr_rel: str
    work_dir_rel: str | None = None


class SpecialFiles(BaseModel):
    """The `special` member of job.json: files that other tools look for, relative to the base dir."""

    stream_manifest: str | None = None
    tts_manifest: str | None = None
    review_state: str | None = None
    qa_summary: str | None = None


class JobOutputs(BaseModel):
    """The `outputs` member of job.json: kind -> path relative to the base dir."""

    primary: dict[str, str] = {}
    mobile: dict[str, str] = {}
    tracks: list[str] = []
    subs: list[str] = []


class JobManifest(Manifest):
    """manifests/job.json: the thin index of one job's base directory, a projection of the log."""

    job: JobInfo
    layout: JobLayoutInfo
    manifests: dict[str, str]
    special: SpecialFiles
    outputs: JobOutputs
    privacy: dict[str, bool] = {}


class ReuseEntry(Manifest):
    """_state/stages/<owner>/<key>.json: the job whose finished stage has this key, and where its files lie."""

    job_id: str
    base_dir: str
    stem: str
    stage: Stage
