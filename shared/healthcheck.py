"""`python -m shared.healthcheck [URL]`: exit 0 if the URL answers 200, else 1 with one line on stderr.

Without an argument the URL is what DUBLINE_HEALTH_URL says.

Lives here: what a container's HEALTHCHECK runs, so that the image needs no curl. Kept to the standard library's small
modules, because it starts every few seconds in every container; proxies of the environment do not apply.
"""

import http.client
import os
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

TIMEOUT_S = 4.0
"""Shorter than the 5 s that docker-compose.yml gives a check, so that the reason is printed."""


def problem(url: str, timeout_s: float = TIMEOUT_S) -> str | None:
    """Return why `url` (http only) is not healthy, None if it is."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return f"not an http URL: {url}"
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_s)
    try:
        # Services answer to loopback names only (`shared.loopback`), and one container may ask another.
        connection.request("GET", parts.path or "/", headers={"Host": "localhost"})
        answer = connection.getresponse()
        answer.read()  # leaving earlier is an error in the gateway's log
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {error or type(error).__name__}"
    finally:
        connection.close()
    return None if answer.status == http.client.OK else f"{url}: HTTP {answer.status}"


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Run the command; see the module's text."""
    url = arguments[0] if arguments else environ.get("DUBLINE_HEALTH_URL", "")
    if reason := problem(url):
        sys.stderr.write(f"{reason}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
