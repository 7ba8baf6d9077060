"""What a request shows of who it is, and the shapes of what can be shown.

Lives here: reading headers, the formats with their checksums, digests, and the token against cross-site requests that
belongs to a session. Does not live here: whose a credential is (`resolution`).

Secrets are 256 bits of the operating system's generator, so a plain SHA-256 keeps them: a slow hash would only make
every request an attack on the processor (reference: accounts and credentials).
"""

import hashlib
import hmac
import secrets
import string
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

SESSION_COOKIE = "__Host-dubline"
PLAIN_SESSION_COOKIE = "dubline"
"""Where DUBLINE_COOKIE_SECURE=0: the prefix is reserved for cookies that only travel encrypted."""
CSRF_HEADER = "x-csrf-token"
API_KEY_HEADER = "x-api-key"

SECRET_CHARS = 43
"""Base62 digits of 256 bits."""
KEY_PREFIX = "dub"
LOCAL_KEY_ID = "local"
PREFIXES = {
    "session": "dubs",
    "access": "duba",
    "refresh": "dubr",
    "setup": "dubsetup",
    "invite": "dubinvite",
    "reset": "dubreset",
}
"""Before the secret of what is not a key, so that a scanner, or a person, sees what leaked."""

_BASE62 = string.digits + string.ascii_letters
_CHECK_CHARS = 6

TokenKind = Literal["session", "access", "refresh", "setup", "invite", "reset"]


@dataclass(frozen=True)
class Shown:
    """A credential of a request: the digest that finds it, and its CSRF token where a browser sent it by itself."""

    digest: str
    by: Literal["cookie", "bearer", "key"]
    csrf: str = ""


def secret() -> str:
    """Return 256 random bits as 43 base62 digits."""
    return _base62(secrets.randbits(256), SECRET_CHARS)


def new_token(kind: TokenKind) -> str:
    """Return a new opaque token, to be shown once and kept only as its digest."""
    return f"{PREFIXES[kind]}_{secret()}"


def derived_token(kind: TokenKind, mac: bytes) -> str:
    """Return the token that 256 bits of a keyed hash make: the same ones make it again, so that nobody must keep it."""
    return f"{PREFIXES[kind]}_{_base62(int.from_bytes(mac), SECRET_CHARS)}"


def new_key(key_id: str) -> str:
    """Return a new API key `dub_<id>_<secret>_<crc32>`; `key_id` is of letters and digits."""
    body = f"{KEY_PREFIX}_{key_id}_{secret()}"
    return f"{body}_{_check(body)}"


def digest(token: str) -> str:
    """Return what is kept of a token, hexadecimal SHA-256."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def well_formed_key(key: str) -> bool:
    """Return whether this could be a key of ours: a mistyped one costs nobody a look-up."""
    body, _, check = key.rpartition("_")
    return body.startswith(f"{KEY_PREFIX}_") and hmac.compare_digest(_check(body).encode(), check.encode())


def csrf_token(session: str) -> str:
    """Return the token that belongs to a session's secret: whoever can read it can read the page already.

    It needs no store: HMAC-SHA256 keyed by the session's own secret (OWASP's signed double submit, session-bound).
    """
    mac = hmac.digest(session.encode(), b"dubline csrf v1", "sha256")
    return urlsafe_b64encode(mac).decode().rstrip("=")


def shown(headers: Iterable[tuple[bytes, bytes]], cookie: str) -> Shown | None:
    """Return what the raw headers of a request show, None if nothing; `cookie` is the session cookie's name.

    An API key wins over a bearer token, that over a cookie: what a program sends on purpose, over what a browser adds.
    """
    bearer = session = None
    for name, value in headers:
        if name == b"x-api-key":
            return Shown(digest(_text(value)), "key") if well_formed_key(_text(value)) else Shown("", "key")
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = _text(value[7:].strip())
        elif name == b"cookie" and session is None:
            session = _cookie(value, cookie.encode())
    if bearer is not None:
        return Shown(digest(bearer), "bearer")
    return None if session is None else Shown(digest(session), "cookie", csrf_token(session))


def _cookie(header: bytes, name: bytes) -> str | None:
    for part in header.split(b";"):
        key, found, value = part.strip().partition(b"=")
        if found and key == name:
            return _text(value)
    return None


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_CHARS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, rest = divmod(number, 62)
        digits.append(_BASE62[rest])
    return "".join(reversed(digits))
