"""How a value lies in a key-value table: JSON text, never pickle.

Lives here: encoding and decoding. Text and not bytes, because newer SQLite reads a BLOB as JSONB.
"""

from typing import Any

import orjson


class ForeignRowError(Exception):
    """A row that this codec did not write, such as a pickled one: refused, because unpickling runs code."""


def dumps_text(value: Any) -> str:
    """Return canonical JSON text: no blanks, members in the order of the value."""
    return orjson.dumps(value).decode()


def loads_text(stored: Any) -> Any:
    """Return the value of a stored text. Raises ForeignRowError for a BLOB and for anything but JSON."""
    if not isinstance(stored, str):
        raise ForeignRowError(f"a {type(stored).__name__} row is not JSON text; pickled rows are refused")
    try:
        return orjson.loads(stored)
    except orjson.JSONDecodeError as error:
        raise ForeignRowError("a text row is not JSON") from error
