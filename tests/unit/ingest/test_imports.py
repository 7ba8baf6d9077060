"""Imported subtitles and transcripts: read strictly, and every refusal names its line."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.fields import IMPORT_MAX_BYTES, Submission
from services.ingest.imports.files import remove_imports, write_imports
from services.ingest.imports.reading import Imported, read_imports
from services.ingest.imports.subtitles import CUE_CHARS_MAX, CUES_MAX, UnreadableError, read_subtitles
from services.ingest.imports.transcripts import read_transcript
from shared.layout import Layout
from shared.manifests import ImportedCues, Transcript, Translation
from shared.problems import Problem

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>The family</i> of Dashwood
had long been settled.

2
00:00:03,000 --> 00:00:04,000
- In Sussex.
- Yes.
"""
VTT = """WEBVTT - a title

NOTE not a cue
--> not even this

STYLE
::cue { color: red }

a name
00:01.000 --> 00:02.500 align:start position:0%
<v Jane>The family</v> of <c.loud>Dashwood</c> &amp; sons
"""


def test_subrip_and_webvtt_are_told_apart_by_what_is_in_them() -> None:
    first, second = read_subtitles(SRT)
    assert (first.start, first.end, first.text) == (1.0, 2.5, "The family of Dashwood\nhad long been settled.")
    assert second.text == "- In Sussex.\n- Yes."
    assert [(cue.start, cue.end, cue.text) for cue in read_subtitles(VTT)] == [
        (1.0, 2.5, "The family of Dashwood & sons")
    ]


@pytest.mark.parametrize("text", [SRT.replace("\n", "\r\n"), SRT.replace("\n", "\r"), "\ufeff" + SRT, SRT + "\n\n\n"])
def test_byte_order_marks_and_all_line_ends_are_read(text: str) -> None:
    assert read_subtitles(text) == read_subtitles(SRT)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no cue"),
        ("WEBVTT\n", "no cue"),
        ("Dear Sir,\nplease dub this.\n", "line 1"),
        ("1\n00:00:01,000 -> 00:00:02,000\nx\n", "line 2"),
        ("1\n00:00:02,000 --> 00:00:01,000\nx\n", "line 2: the cue ends before it begins"),
        ("1\n00:00:01,000 --> 00:00:01,000\nx\n", "line 2"),
        ("1\n00:00:61,000 --> 00:01:02,000\nx\n", "line 2"),
        (SRT + "\n3\n00:00:03,500 --> 00:00:05,000\nx\n", "line 12: this cue begins before the one of line 7"),
        ("1\n00:00:01,000 --> 00:00:02,000\nx\n2\n00:00:03,000 --> 00:00:04,000\ny\n", "line 5: a blank line"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\na --&gt; b\n", "arrow"),
        ("1\n00:00:01,000 --> 00:00:02,000\n\0\n", "character 0"),
        ("1\n00:00:01,000 --> 00:00:02,000\n" + "x" * (CUE_CHARS_MAX + 1), "line 2"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(UnreadableError, match=complaint):
        read_subtitles(text)


def test_the_number_of_cues_is_bounded() -> None:
    def cue(number: int) -> str:
        hours, seconds = divmod(number, 3600)
        at = f"{hours:02d}:{seconds // 60:02d}:{seconds % 60:02d}"
        return f"{at},000 --> {at},900\nx\n\n"

    text = "".join(cue(number) for number in range(CUES_MAX + 1))
    with pytest.raises(UnreadableError, match="more than 20000 cues"):
        read_subtitles(text)


@given(st.text(alphabet="0123456789:,.-> \n\r<>&;ax\ufeffWEBVTT\t", max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        found = read_subtitles(text)
    except UnreadableError:
        return
    assert all(cue.text and "-->" not in cue.text and 0 <= cue.start < cue.end for cue in found)
    assert all(later.start >= earlier.end for earlier, later in pairwise(found))


def transcript(*segments: object, **more: object) -> str:
    return json.dumps({"segments": list(segments), **more})


def test_a_transcript_of_our_own_is_read_without_its_words() -> None:
    said = {"index": 0, "start": 1, "end": 2.5, "text": " Hello. ", "words": [], "avg_logprob": -0.1}
    language, (line,) = read_transcript(transcript(said, language="en", version=1))
    assert (language, line.start, line.end, line.text) == ("en", 1.0, 2.5, "Hello.")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"segments": [{"start": NaN, "end": 1, "text": "x"}]}', "not JSON"),
        ("[]", "segments"),
        (transcript(), "no segment"),
        (transcript({"start": 0, "end": 1, "text": 5}), "segment 1"),
        (transcript({"start": True, "end": 2, "text": "x"}), "segment 1"),
        (transcript({"start": -1, "end": 2, "text": "x"}), "segment 1"),
        (transcript({"start": 0, "end": 1e400, "text": "x"}), "not JSON|segment 1"),
        (transcript({"start": 0, "end": 2, "text": "x"}, {"start": 1, "end": 3, "text": "y"}), "segment 2"),
    ],
)
def test_a_wrong_transcript_is_refused_with_its_segment(text: str, complaint: str) -> None:
    with pytest.raises(UnreadableError, match=complaint):
        read_transcript(text)


def refused(**fields: str) -> Problem:
    with pytest.raises(Problem) as refusal:
        read_imports(Submission.model_validate({"tgt_lang": "pt"} | fields))
    assert (refusal.value.status, refusal.value.code) == (422, "invalid_import")
    return refusal.value


def test_a_refusal_names_the_field_and_the_line() -> None:
    wrong = refused(src_lang="en", src_srt_text="1\n0 --> 1\nx")
    assert (wrong.extra["field"], "line 2" in wrong.detail) == ("src_srt", True)
    assert refused(src_lang="en", tgt_srt_text="nothing").extra["field"] == "tgt_srt"
    assert refused(src_srt_text=SRT).extra["field"] == "src_lang"  # nothing is recognised that could tell it
    both = refused(src_lang="en", src_srt_text=SRT, transcript_json_text=transcript())
    assert both.extra["field"] == "transcript_json"
    wrong = refused(src_lang="fr", transcript_json_text=transcript({"start": 0, "end": 1, "text": "x"}, language="en"))
    assert wrong.extra["field"] == "transcript_json"
    assert "2 MB" in refused(tgt_srt_text="é" * (IMPORT_MAX_BYTES // 2 + 1)).detail


def test_a_transcript_tells_its_language() -> None:
    text = transcript({"start": 0, "end": 1, "text": "x"}, language="en-GB")
    fields, imported = read_imports(Submission(tgt_lang="pt", transcript_json_text=text))
    assert (fields.src_lang, imported.source[0].text, imported.source_cues) == ("en", "x", False)


def test_times_beyond_the_video_are_refused_and_a_rounded_end_is_cut_off() -> None:
    _, imported = read_imports(Submission(src_lang="en", tgt_lang="pt", src_srt_text=SRT))
    with pytest.raises(Problem) as refusal:
        imported.within(3.2)
    assert refusal.value.code == "invalid_import"
    assert imported.within(3.8).source[-1].end == 3.8
    assert imported.within(10.0) == imported


def test_the_files_are_what_the_skipped_stages_would_have_written(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    paths = layout.job("job", "film", "film")
    other = "1\n00:00:01,200 --> 00:00:02,400\nA família\nDashwood\n"
    _, imported = read_imports(Submission(src_lang="en", tgt_lang="pt", src_srt_text=SRT, tgt_srt_text=other))
    stages = write_imports(imported, paths, "up_1", ("en", "pt"), 12.0)
    assert list(stages) == ["transcribe", "translate"]
    files = {file.name: file for stage in stages.values() for file in stage.outputs}
    said = Transcript.model_validate_json((layout.output / files["transcript"].path).read_bytes())
    assert said.segments[0].text == "The family of Dashwood had long been settled."
    made = Translation.model_validate_json((layout.output / files["translation"].path).read_bytes())
    (line,) = made.segments
    assert (line.text, line.source_text) == ("A família Dashwood", said.segments[0].text)
    cues = ImportedCues.model_validate_json((layout.output / files["imported_target_cues"].path).read_bytes())
    assert cues.cues[0].text == "A família\nDashwood"
    assert "família" not in json.dumps({name: stage.model_dump() for name, stage in stages.items()})  # E8

    write_imports(imported, paths, "up_2", ("en", "pt"), 12.0)
    remove_imports(paths, "up_2")
    assert all((layout.output / file.path).is_file() for file in files.values())  # of two that race, each has its own
    remove_imports(paths, "up_1")
    assert not paths.work.parent.exists()


def test_only_a_translation_leaves_the_original_unheard(tmp_path: Path) -> None:
    paths = Layout(tmp_path).job("job", "film", "film")
    _, imported = read_imports(Submission(tgt_lang="pt", tgt_srt_text=SRT))
    stages = write_imports(imported, paths, "up_1", ("auto", "pt"), 12.0)
    assert stages["transcribe"].facts == {"language": "und", "language_probability": 1.0, "segments": 0}
    assert write_imports(Imported(), paths, "up_2", ("auto", "pt"), 12.0) == {}
