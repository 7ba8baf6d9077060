"""HTTP to a service under test with this machine's own key: what httpx has, signed in.

All systems of a test session share one key file, so that a test need not know which one it talks to. What must not be
signed in uses httpx itself.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import httpx

from shared.access.local_key import ensure_local_key, read_local_key

VARIABLE = "DUBLINE_LOCAL_KEY_FILE"


def share_local_key() -> None:
    """Let every process of this session have one local key; called before any of them starts."""
    if VARIABLE not in os.environ:
        path = Path(tempfile.mkdtemp(prefix="dubline-tests-")) / "local-key"
        ensure_local_key(path)
        os.environ[VARIABLE] = str(path)


def local_key() -> str:
    """Return the session's key."""
    key = read_local_key(Path(os.environ[VARIABLE]))
    assert key
    return key


def signed_in(headers: Any = None) -> httpx.Headers:
    """Return headers with the key, unless they show a credential of their own."""
    merged = httpx.Headers(headers)
    if not {"authorization", "cookie", "x-api-key"} & set(merged):
        merged["X-Api-Key"] = local_key()
    return merged


def raw_header() -> str:
    """Return the line that shows the key, for requests that are written by hand."""
    return f"X-Api-Key: {local_key()}\r\n"


def request(method: str, url: Any, *, headers: Any = None, **options: Any) -> httpx.Response:
    return httpx.request(method, url, headers=signed_in(headers), **options)


def get(url: Any, **options: Any) -> httpx.Response:
    return request("GET", url, **options)


def head(url: Any, **options: Any) -> httpx.Response:
    return request("HEAD", url, **options)


def post(url: Any, **options: Any) -> httpx.Response:
    return request("POST", url, **options)


def put(url: Any, **options: Any) -> httpx.Response:
    return request("PUT", url, **options)


def delete(url: Any, **options: Any) -> httpx.Response:
    return request("DELETE", url, **options)


def stream(method: str, url: Any, *, headers: Any = None, **options: Any) -> Any:
    return httpx.stream(method, url, headers=signed_in(headers), **options)


def client(*, headers: Any = None, **options: Any) -> httpx.Client:
    return httpx.Client(headers=signed_in(headers), **options)


def async_client(*, headers: Any = None, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(headers=signed_in(headers), **options)
