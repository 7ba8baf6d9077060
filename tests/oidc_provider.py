"""A real OpenID provider (`oidc-provider-mock`) in a process of its own: whoever names a subject is signed in there.

Lives here: starting it, and who its people are. Does not live here: a hostile one
(`tests.integration.ingest.hostile_provider`).
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.broker import free_port, wait_for_port

PEOPLE = ("maria", "joao", "admin")
"""Their subjects are `s-maria` and so on."""

_CLAIMS = '{"sub": "s-%s", "preferred_username": "%s", "email": "%s@example.org", "email_verified": true}'


@contextlib.contextmanager
def running_provider(directory: Path) -> Iterator[str]:
    """Yield the issuer of a provider that answers."""
    port = free_port()
    people = [part for name in PEOPLE for part in ("--user-claims", _CLAIMS % (name, name, name))]
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "-p", str(port), "--require-nonce", *people]
    with (directory / "log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_for_port(port, 30)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
