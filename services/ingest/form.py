"""A multipart form, read as it arrives: fields into memory, the one file into a sink.

Lives here: the streaming reader and its limits. Does not live here: HTTP (`routes`), disks (`storage`).
"""

from collections.abc import Callable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.ingest.naming import form_file_name
from shared.problems import Problem

FILE_FIELD = "file"
FIELD_MAX_BYTES = 64 << 10
FIELDS_MAX = 32
HEADER_MAX_BYTES = 8 << 10
HEADERS_MAX = 8

Sink = Callable[[memoryview], None]


def boundary_of(content_type: str) -> str:
    """Return the boundary that a Content-Type names. Raises Problem 400."""
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise _malformed("the Content-Type names no boundary")
    return boundary.decode("latin-1")


class FormReader:
    """Feed it the body in pieces of any size; `fields` and `file_name` are complete after `finish`.

    `sink` gets the bytes of the field `file`. Every method raises Problem for a form that is malformed or too large,
    and whatever the sink raises.
    """

    def __init__(self, boundary: str, sink: Sink) -> None:
        self.fields: dict[str, str] = {}
        self.file_name: str | None = None
        self._sink = sink
        self._ended = False
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        self._field: str | None = None
        self._value = bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begin,
                    "on_header_field": self._on_header_name,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._part_data,
                    "on_part_end": self._part_end,
                    "on_end": self._end,
                },
                max_header_count=HEADERS_MAX,
                max_header_size=HEADER_MAX_BYTES,
            )
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def feed(self, data: bytes) -> None:
        """Take the next piece of the body."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed("it does not follow RFC 7578") from error

    def finish(self) -> None:
        """Say that the body has ended."""
        if not self._ended:
            raise _malformed("it ends before its last boundary")

    def _part_begin(self) -> None:
        self._disposition = b""
        self._field = None
        self._value.clear()

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise _malformed("a part has no name")
        name = options[b"name"].decode("utf-8", errors="replace")
        if name in self.fields or (name == FILE_FIELD and self.file_name is not None):
            raise Problem(422, "duplicate_field", f"The field {name!r} was sent twice. Send it once.")
        if len(self.fields) >= FIELDS_MAX:
            raise Problem(413, "form_too_large", f"The form has more than {FIELDS_MAX} fields.")
        self._field = name
        if name == FILE_FIELD:
            self.file_name = form_file_name(options.get(b"filename", b""))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field == FILE_FIELD:
            self._sink(memoryview(data)[start:end])
            return
        if len(self._value) + end - start > FIELD_MAX_BYTES:
            raise Problem(413, "form_too_large", f"A field is larger than {FIELD_MAX_BYTES} bytes.")
        self._value += data[start:end]

    def _part_end(self) -> None:
        if self._field is None or self._field == FILE_FIELD:
            return
        try:
            self.fields[self._field] = self._value.decode()
        except UnicodeDecodeError as error:
            raise _malformed("a field is not UTF-8") from error

    def _end(self) -> None:
        self._ended = True


def _malformed(why: str) -> Problem:
    return Problem(400, "malformed_form", f"The form could not be read: {why}. Send multipart/form-data.")
