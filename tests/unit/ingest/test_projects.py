"""The directory that a project gets when it asks for none: safe for any name, and never the installation's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.projects import default_subdirs, name_key
from shared.curation import check_output_subdir, clean_name

ID = "proj_0123456789abcdef"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Films", "Films"),
        ("Vol. 2", "Vol. 2"),
        ("a/b\\c", "a_b_c"),
        ("../../etc", "etc"),
        (".hidden.", "hidden"),
        ("CON", "CON"),
        ("x" * 120, "x" * 111),
    ],
)
def test_a_directory_named_after_the_project(name: str, wanted: str) -> None:
    assert default_subdirs(name, ID) == (wanted, f"{wanted}-89abcdef")


@pytest.mark.parametrize("name", ["jobs", "Jobs", "...", "\U0001f3ac", "___"])
def test_a_name_that_makes_no_directory_gives_the_id(name: str) -> None:
    assert default_subdirs(name, ID) == (ID,)


@given(st.text(min_size=1, max_size=120))
def test_any_name_that_is_accepted_gives_directories_that_are(name: str) -> None:
    try:
        cleaned = clean_name(name)
    except ValueError:
        return
    for directory in default_subdirs(cleaned, ID):
        assert check_output_subdir(directory) == directory != ""
        assert "/" not in directory


def test_names_are_compared_without_case_and_white_space() -> None:
    assert name_key("Straße  eins ") == name_key("STRASSE EINS")
    assert name_key("e\u0301te") == name_key("\u00e9te")
    assert name_key("one") != name_key("two")
