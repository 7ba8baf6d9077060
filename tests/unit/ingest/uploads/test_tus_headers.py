"""The headers of tus 1.0.0, as tusd's tests have them."""

import base64

import pytest

from services.ingest.uploads import tus
from shared.problems import Problem


def refused(function: object, *args: object) -> Problem:
    with pytest.raises(Problem) as found:
        function(*args)  # type: ignore[operator]
    return found.value


@pytest.mark.parametrize("sent", [{}, {"tus-resumable": "0.2.2"}, {"tus-resumable": ""}])
def test_another_version_of_tus_is_told_which_one_is_spoken(sent):
    problem = refused(tus.check_version, sent)
    assert (problem.status, problem.headers) == (412, {"Tus-Version": "1.0.0"})


@pytest.mark.parametrize("value", ["", "-1", "+1", "1.5", "0x10", "1_000", " 5", "٣", "9" * 19])
def test_a_size_is_a_plain_number_of_bytes(value):
    assert refused(tus.upload_length, {"upload-length": value}).status == 400
    assert refused(tus.upload_offset, {"upload-offset": value}).status == 400


def test_sizes_and_offsets_are_read():
    assert tus.upload_length({"upload-length": "0"}) == 0
    assert tus.upload_offset({"upload-offset": "300"}) == 300


@pytest.mark.parametrize("header", ["upload-defer-length", "upload-concat"])
def test_what_is_not_offered_is_refused_and_not_ignored(header):
    assert refused(tus.upload_length, {header: "1", "upload-length": "10"}).code == "tus_unsupported"


def test_metadata_may_be_empty_as_tuspy_sends_it():
    assert tus.metadata_of("") == tus.metadata_of("  ") == {}


def test_metadata_has_keys_with_and_without_values():
    name = base64.b64encode("фильм.mp4".encode()).decode()
    assert tus.metadata_of(f"filename {name}, is_private,empty ") == {
        "filename": "фильм.mp4", "is_private": "", "empty": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    "header", ["filename !", "a b c", "a YQ==,a YQ==", ", a YQ==", "é YQ==", "a" * 5000, "a\x01 YQ=="]
)
def test_malformed_metadata_is_refused(header):
    assert refused(tus.metadata_of, header).code == "tus_metadata"


def test_a_checksum_is_of_an_algorithm_that_is_told():
    digest = bytes(range(32))
    assert tus.checksum_of("sha256 " + base64.b64encode(digest).decode()) == tus.Checksum("sha256", digest)
    assert tus.checksum_of(None) is None


@pytest.mark.parametrize("header", ["", "sha256", "md5 YQ==", "sha256 YQ==", "sha1 !!", "SHA1 YQ=="])
def test_a_checksum_that_cannot_be_checked_is_refused(header):
    assert refused(tus.checksum_of, header).status == 400


@pytest.mark.parametrize("kind", ["", "application/json", "application/octet-stream"])
def test_bytes_come_as_offset_octet_stream(kind):
    assert refused(tus.check_content_type, {"content-type": kind}).status == 415
    tus.check_content_type({"content-type": "application/offset+octet-stream; charset=x"})
