"""What a submission brings of a dub that is made already: its own words, its own translation, or both.

Lives here: from the fields to checked lines, before there is a job. Does not live here: the formats (`subtitles`,
`transcripts`), and the files that the lines become (`files`). Pure; of a large file, slow enough for a thread.
"""

from dataclasses import dataclass, replace

from services.ingest.fields import AUTO, IMPORT_MAX_BYTES, Submission
from services.ingest.imports.subtitles import Line, UnreadableError, read_subtitles
from services.ingest.imports.transcripts import read_transcript
from shared.problems import Problem

BEYOND_S = 0.5
"""A last cue may outlast the video by so much: players round its length. It is cut off at the end."""


@dataclass(frozen=True)
class Imported:
    """`source` is what was said, `target` its translation; empty where the job makes them itself.

    `source_cues` says that the source came as subtitles, which are then shown as they are.
    """

    source: tuple[Line, ...] = ()
    target: tuple[Line, ...] = ()
    source_cues: bool = False

    def __bool__(self) -> bool:
        return bool(self.source or self.target)

    def within(self, duration_s: float) -> "Imported":
        """Return the same for a video of this length. Raises Problem 422 for times beyond its end."""
        return replace(
            self,
            source=_within("the source subtitles or transcript", self.source, duration_s),
            target=_within("the target subtitles", self.target, duration_s),
        )


def read_imports(fields: Submission) -> tuple[Submission, Imported]:
    """Return what the submission imports, and its fields with the language that a transcript tells.

    Raises Problem 422 `invalid_import`, whose member `field` names the one that is wrong.
    """
    if fields.src_srt_text is not None and fields.transcript_json_text is not None:
        detail = "Both source subtitles and a transcript were sent. Send one of them: they say the same."
        raise _invalid("transcript_json", detail)
    source = _lines("src_srt", fields.src_srt_text)
    target = _lines("tgt_srt", fields.tgt_srt_text)
    if fields.transcript_json_text is not None:
        fields, source = _transcript(fields, fields.transcript_json_text)
    if source and fields.src_lang == AUTO:
        detail = "With source subtitles or a transcript nothing is recognised: say their language as src_lang."
        raise _invalid("src_lang", detail)
    return fields, Imported(source, target, source_cues=fields.src_srt_text is not None)


def _transcript(fields: Submission, text: str) -> tuple[Submission, tuple[Line, ...]]:
    try:
        language, lines = read_transcript(_bounded("transcript_json", text))
    except UnreadableError as error:
        raise _invalid("transcript_json", f"The transcript cannot be read: {error}.") from error
    if language is None:
        return fields, tuple(lines)
    told = language.strip().lower().partition("-")[0]
    if fields.src_lang not in (AUTO, told):
        raise _invalid("transcript_json", f"The transcript is not in {fields.src_lang}, which src_lang says.")
    if not (told.isascii() and told.isalpha() and len(told) in (2, 3)):
        raise _invalid("transcript_json", "The transcript's language is no code such as en.")
    if told == fields.tgt_lang:
        raise Problem(422, "same_language", f"The transcript is in {told} already. Choose another target language.")
    return fields.model_copy(update={"src_lang": told}), tuple(lines)


def _lines(field: str, text: str | None) -> tuple[Line, ...]:
    if text is None:
        return ()
    try:
        return tuple(read_subtitles(_bounded(field, text)))
    except UnreadableError as error:
        raise _invalid(field, f"The subtitles cannot be read: {error}.") from error


def _bounded(field: str, text: str) -> str:
    if len(text) > IMPORT_MAX_BYTES or len(text.encode(errors="surrogatepass")) > IMPORT_MAX_BYTES:
        raise _invalid(field, f"It is larger than {IMPORT_MAX_BYTES >> 20} MB.")
    return text


def _within(what: str, lines: tuple[Line, ...], duration_s: float) -> tuple[Line, ...]:
    if not lines:
        return ()
    last = lines[-1]
    if last.end > duration_s + BEYOND_S or last.start >= duration_s:
        detail = f"In {what}, the last line ends at {last.end:.1f} s, but the video is {duration_s:.1f} s long."
        raise _invalid("times", detail)
    return (*lines[:-1], last._replace(end=min(last.end, duration_s)))


def _invalid(field: str, detail: str) -> Problem:
    return Problem(422, "invalid_import", detail, field=field)
