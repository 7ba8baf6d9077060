"""Reading a pickled row of the predecessor without running code that it names.

Lives here: an unpickler that makes plain values and knows two kinds of globals: the predecessor's own job state, and
times. Every other global is refused, because looking one up is how a pickle runs code (CVE-2024-35515).
"""

import datetime as dt
import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import orjson

ROW_MAX_BYTES = 16 << 20

_STATE_CLASS = "JobState"
_HARMLESS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("datetime", "date"): dt.date,
    ("datetime", "datetime"): dt.datetime,
    ("datetime", "timedelta"): dt.timedelta,
    ("datetime", "timezone"): dt.timezone,
}


class RefusedRowError(Exception):
    """The row is not plain data; the message says what it asks for."""


def _state(value: object) -> str:
    """Stand in for the predecessor's enumeration: its members are pickled as the class and the value."""
    return str(value)


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if global_name == _STATE_CLASS:
            return _state
        try:
            return _HARMLESS[module_name, global_name]
        except KeyError:
            raise RefusedRowError(f"it asks for {module_name}.{global_name}") from None

    def persistent_load(self, pid: Any) -> Any:  # noqa: ARG002 -- the base class names it
        raise RefusedRowError("it refers to something outside of itself")


def read_row(stored: object) -> Any:
    """Return the value of a stored row: JSON text, or a pickle of plain data. Raises RefusedRowError."""
    if isinstance(stored, str):
        try:
            return orjson.loads(stored)
        except orjson.JSONDecodeError:
            raise RefusedRowError("it is text, but not JSON") from None
    if not isinstance(stored, bytes):
        raise RefusedRowError(f"it is a {type(stored).__name__}")
    if len(stored) > ROW_MAX_BYTES:
        raise RefusedRowError(f"it is larger than {ROW_MAX_BYTES} bytes")
    try:
        return _PlainUnpickler(io.BytesIO(stored)).load()
    except RefusedRowError:
        raise
    except Exception as error:  # noqa: BLE001 -- a damaged pickle raises whatever its bytes say
        raise RefusedRowError(f"it is damaged ({type(error).__name__})") from None
