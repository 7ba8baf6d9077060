"""A multipart form is read the same whichever way the network cuts it up."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.form import FIELD_MAX_BYTES, FIELDS_MAX, FormReader, boundary_of
from shared.problems import Problem

BOUNDARY = "----dubline7MA4YWxk"


def part(name: str, value: bytes, file_name: str | None = None) -> bytes:
    shown = "" if file_name is None else f'; filename="{file_name}"'
    header = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n'
    kind = "" if file_name is None else "Content-Type: application/octet-stream\r\n"
    return (header + kind + "\r\n").encode() + value + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def read(data: bytes, cuts: list[int] | None = None) -> tuple[FormReader, bytes]:
    received = bytearray()
    reader = FormReader(BOUNDARY, lambda _name: received.extend)
    edges = [0, *sorted(cuts or []), len(data)]
    for start, end in pairwise(edges):
        reader.feed(data[start:end])
    reader.finish()
    return reader, bytes(received)


def refused(data: bytes) -> Problem:
    with pytest.raises(Problem) as refusal:
        read(data)
    return refusal.value


nasty = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"--", f"\r\n--{BOUNDARY}"[:-1].encode(), f"--{BOUNDARY}".encode(), b"x", b"\0"])
    | st.binary(max_size=40)
).map(b"".join)


@given(file=nasty, field=st.text(max_size=30), data=st.data())
def test_any_split_gives_the_same_bytes_and_fields(file: bytes, field: str, data: st.DataObject) -> None:
    if f"\r\n--{BOUNDARY}".encode() in b"\r\n" + file or f"\r\n--{BOUNDARY}" in "\r\n" + field:
        return  # what contains the boundary cannot be sent with it
    form = body(part("src_lang", field.encode()), part("file", file, "a.mp4"), part("tgt_lang", b"pt"))
    cuts = data.draw(st.lists(st.integers(0, len(form)), max_size=12))
    reader, received = read(form, cuts)
    assert received == file
    assert reader.file_name == "a.mp4"
    assert reader.fields == {"src_lang": field, "tgt_lang": "pt"}


def test_byte_by_byte() -> None:
    form = body(part("file", b"\r\n--" + bytes(range(256)), "a.mp4"), part("tgt_lang", b"pt"))
    reader, received = read(form, list(range(len(form))))
    assert received == b"\r\n--" + bytes(range(256))
    assert reader.fields == {"tgt_lang": "pt"}


def test_a_form_without_a_file_has_no_file_name() -> None:
    assert read(body(part("tgt_lang", b"pt")))[0].file_name is None


def test_escaped_and_foreign_file_names_arrive_whole() -> None:
    assert read(body(part("file", b"", "a%22b%0Ac \u05d0.mp4")))[0].file_name == 'a"b\nc \u05d0.mp4'


def test_a_percent_sign_that_is_no_escape_stays() -> None:
    assert read(body(part("file", b"", "100%25 %41.mp4")))[0].file_name == "100%25 %41.mp4"


@pytest.mark.parametrize(
    ("data", "code", "status"),
    [
        (part("file", b"abc", "a.mp4"), "malformed_form", 400),
        (b"not a form at all", "malformed_form", 400),
        (b"", "malformed_form", 400),
        (body(f"--{BOUNDARY}\r\nContent-Type: text/plain\r\n\r\nx\r\n".encode()), "malformed_form", 400),
        (body(f"--{BOUNDARY}\r\nX: {'y' * 9000}\r\n\r\nx\r\n".encode()), "malformed_form", 400),
        (body(part("tgt_lang", b"\xff")), "malformed_form", 400),
        (body(part("tgt_lang", b"x" * (FIELD_MAX_BYTES + 1))), "form_too_large", 413),
        (body(*[part(f"f{n}", b"") for n in range(FIELDS_MAX + 1)]), "form_too_large", 413),
        (body(part("file", b"a", "a"), part("file", b"b", "b")), "duplicate_field", 422),
        (body(part("mode", b"low"), part("mode", b"high")), "duplicate_field", 422),
    ],
)
def test_broken_and_excessive_forms_are_refused(data: bytes, code: str, status: int) -> None:
    problem = refused(data)
    assert (problem.code, problem.status) == (code, status)


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/x; b=c"])
def test_a_content_type_without_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(Problem):
        boundary_of(content_type)


def test_a_boundary_beyond_the_rfc_is_refused() -> None:
    with pytest.raises(Problem):
        FormReader("x" * 500, lambda _name: bytearray().extend)


def test_what_the_sink_raises_comes_through() -> None:
    def full(_data: memoryview) -> None:
        raise Problem(507, "disk_full", "")

    reader = FormReader(BOUNDARY, lambda _name: full)
    with pytest.raises(Problem) as refusal:
        reader.feed(body(part("file", b"abc", "a.mp4")))
    assert refusal.value.status == 507
