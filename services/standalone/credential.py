"""What the command line shows of who it is.

Lives here: choosing the credential for a server. DUBLINE_API_KEY goes to whatever server is named; this machine's own
key goes to this machine only, so that naming another server never gives it away.
"""

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from shared.access.local_key import read_local_key
from shared.loopback import is_loopback
from shared.settings import Settings

VARIABLE = "DUBLINE_API_KEY"


def credential_headers(server: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the header for requests to `server`; empty where there is nothing to show."""
    key = environ.get(VARIABLE, "").strip() or (read_local_key(Settings().local_key_file) if _is_here(server) else None)
    return {"X-Api-Key": key} if key else {}


def sign_in_hint(answer: httpx.Response) -> str | None:
    """Return what to do about a refused credential, None for another answer."""
    if answer.status_code != httpx.codes.UNAUTHORIZED:
        return None
    return f"The server wants to know who you are: put an API key of yours into {VARIABLE}."


def _is_here(server: str) -> bool:
    try:
        return is_loopback(urlsplit(server).hostname or "")
    except ValueError:
        return False
