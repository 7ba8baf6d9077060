"""Any file name is accepted and becomes a title that can be shown and a stem that can be a directory."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.naming import TITLE_MAX_CHARS, clean_title, form_file_name
from shared.layout import safe_stem


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("holiday film.mp4", "holiday film.mp4"),
        ('say "hi".mp4', 'say "hi".mp4'),
        ("two\nlines\r\n.mp4", "twolines.mp4"),
        ("nul\0byte.mp4", "nulbyte.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\film.avi", "film.avi"),
        ("\u05e1\u05e8\u05d8.mp4", "\u05e1\u05e8\u05d8.mp4"),
        ("evil\u202e4pm.exe", "evil4pm.exe"),
        ("-rf.mp4", "-rf.mp4"),
        ("", "video"),
        ("\n\t", "video"),
        ("x" * 300, "x" * 255),
    ],
)
def test_titles(name: str, title: str) -> None:
    assert clean_title(name) == title


@given(st.text(max_size=400) | st.binary(max_size=400).map(form_file_name))
def test_every_name_gives_a_harmless_title_and_stem(name: str) -> None:
    title = clean_title(name)
    assert 0 < len(title) <= TITLE_MAX_CHARS
    assert not {"Cc", "Cs"} & {unicodedata.category(c) for c in title}
    assert "/" not in title
    stem = safe_stem(title)
    assert stem not in {"", ".", ".."}
    assert "/" not in stem
    assert len(stem.encode()) <= 120
    title.encode()
