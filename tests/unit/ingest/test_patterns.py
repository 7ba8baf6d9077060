"""What the document tells of a project's directory is what the rule accepts."""

import re

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.routes.patterns import SUBDIR
from shared.curation import check_output_subdir


@given(st.text(st.sampled_from("aZ\u00e90_-. /jobs"), max_size=12))
def test_the_pattern_of_a_directory_is_the_rule(text: str) -> None:
    try:
        accepted = check_output_subdir(text) == text
    except ValueError:
        accepted = False
    assert (re.fullmatch(SUBDIR, text) is not None) == accepted
