"""A multipart form, read as it arrives: fields into memory, each video into a sink of its own.

Lives here: the streaming reader and its limits. Does not live here: HTTP (`routes`), disks (`storage`).
"""

from collections.abc import Callable, Sequence

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.ingest.fields import IMPORT_FIELDS, IMPORT_MAX_BYTES
from services.ingest.naming import form_file_name
from shared.problems import Problem

FILE_FIELD = "file"
FIELD_MAX_BYTES = 64 << 10
LARGE_FIELDS = frozenset(IMPORT_FIELDS) | {f"{name}_text" for name in IMPORT_FIELDS}
FIELDS_MAX = 64
HEADER_MAX_BYTES = 8 << 10
HEADERS_MAX = 8

Sink = Callable[[memoryview], None]
OpenSink = Callable[[str], Sink]


def boundary_of(content_type: str) -> str:
    """Return the boundary that a Content-Type names. Raises Problem 400."""
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise _malformed("the Content-Type names no boundary")
    return boundary.decode("latin-1")


class FormReader:
    """Feed it the body in pieces of any size; `fields` and `file_names` are complete after `finish`.

    `open_sink` is called with the name of each video when it begins, and returns what gets its bytes; `files` are the
    fields that videos come in, `most` how many there may be. Every method raises Problem for a form that is malformed
    or too large, and whatever the sink raises.
    """

    def __init__(
        self, boundary: str, open_sink: OpenSink, *, files: Sequence[str] = (FILE_FIELD,), most: int = 1
    ) -> None:
        self.fields: dict[str, str] = {}
        self.file_names: list[str] = []
        self._open_sink = open_sink
        self._files = files
        self._most = most
        self._sink: Sink | None = None
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

    @property
    def file_name(self) -> str | None:
        """The name of the first video, None where there is none."""
        return self.file_names[0] if self.file_names else None

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
        if name in self.fields or (name in self._files and self._most == len(self.file_names) == 1):
            raise Problem(422, "duplicate_field", f"The field {name!r} was sent twice. Send it once.")
        if len(self.fields) >= FIELDS_MAX:
            raise Problem(413, "form_too_large", f"The form has more than {FIELDS_MAX} fields.")
        self._field, self._sink = name, None
        if name in self._files:
            if len(self.file_names) >= self._most:
                raise Problem(413, "form_too_large", f"The form has more than {self._most} videos.")
            self.file_names.append(form_file_name(options.get(b"filename", b"")))
            self._sink = self._open_sink(self.file_names[-1])

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._sink is not None:
            self._sink(memoryview(data)[start:end])
            return
        most = IMPORT_MAX_BYTES if self._field in LARGE_FIELDS else FIELD_MAX_BYTES
        if len(self._value) + end - start > most:
            raise Problem(413, "form_too_large", f"The field {self._field!r} is larger than {most} bytes.")
        self._value += data[start:end]

    def _part_end(self) -> None:
        if self._field is None or self._sink is not None:
            return
        try:
            self.fields[self._field] = self._value.decode()
        except UnicodeDecodeError as error:
            if self._field in LARGE_FIELDS:
                detail = "The file is no UTF-8 text. Save it as UTF-8 and send it again."
                raise Problem(422, "invalid_import", detail, field=self._field) from error
            raise _malformed("a field is not UTF-8") from error

    def _end(self) -> None:
        self._ended = True


def _malformed(why: str) -> Problem:
    return Problem(400, "malformed_form", f"The form could not be read: {why}. Send multipart/form-data.")
