"""A load generator in a process of its own: `python -m benchmarks.load URL CLIENTS SECONDS` prints a line of JSON.

Lives here: keep-alive clients that ask for one URL as fast as they are answered. wrk, where it is on PATH, does the
same at less cost; `measure` takes whichever there is. Does not live here: what is measured.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import uvloop

from benchmarks.rows import percentile
from benchmarks.signed_in import local_key

WARM_UP_S = 0.5
_CHUNKED = -1
"""In place of a length: the end is where the last chunk is."""
_LAST_CHUNK = b"0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_WRK_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")


@dataclass(frozen=True)
class Load:
    """Answers per second; `p99_ms` is None where the generator does not tell."""

    rate: float
    p99_ms: float | None
    generator: str


class Client(asyncio.Protocol):
    """One connection: sends the request again whenever an answer is whole."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._transport: asyncio.WriteTransport | None = None
        self._head = b""
        self._missing: int | None = None
        self._asked = 0.0
        self.seconds: list[float] = []
        self.failure = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's are none by inheritance
        self._ask()

    def data_received(self, data: bytes) -> None:
        if self._missing is None:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(self._head, 0, end + 2)
            if not self._head.startswith(b"HTTP/1.1 200"):
                self.failure = self._head[:200].decode("latin-1")
                assert self._transport is not None
                self._transport.close()
                return
            self._missing = int(length[1]) - (len(self._head) - end - 4) if length else _CHUNKED
        elif self._missing != _CHUNKED:
            self._missing -= len(data)
        if self._missing == 0 or (self._missing == _CHUNKED and data.endswith(_LAST_CHUNK)):
            self.seconds.append(time.perf_counter() - self._asked)
            self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._head, self._missing, self._asked = b"", None, time.perf_counter()
        self._transport.write(self._request)


async def generate(url: str, clients: int, seconds: float) -> tuple[int, list[float]]:
    """Return the number of answers, and how long each took. Raises RuntimeError on any answer but 200."""
    parts = urlsplit(url)
    target = parts.path + ("?" + parts.query if parts.query else "")
    request = (
        f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: */*\r\nX-Api-Key: {local_key()}\r\n\r\n".encode()
    )
    loop, host, port = asyncio.get_running_loop(), parts.hostname or "", parts.port or 80
    made = [await loop.create_connection(lambda: Client(request), host, port) for _ in range(clients)]
    await asyncio.sleep(seconds)
    for transport, client in made:
        transport.abort()
        if client.failure:
            raise RuntimeError(f"{url} answered {client.failure}")
    if not any(client.seconds for _, client in made):
        raise RuntimeError(f"{url} answered nothing in {seconds} s")
    took = [second for _, client in made for second in client.seconds]
    return len(took), took


def measure(url: str, clients: int, seconds: float) -> Load:
    """Load a URL from another process, after a short warm-up. Raises RuntimeError, subprocess.CalledProcessError."""
    if wrk := shutil.which("wrk"):
        command = [wrk, f"-c{clients}", "-t1", "-H", f"X-Api-Key: {local_key()}"]
        subprocess.run([*command, "-d1s", url], check=True, capture_output=True)
        told = subprocess.run([*command, f"-d{seconds:.0f}s", url], check=True, capture_output=True, text=True).stdout
        rate = _WRK_RATE.search(told)
        if rate is None or "Non-2xx" in told:
            raise RuntimeError(told)
        return Load(float(rate[1]), None, "wrk")
    command = [sys.executable, "-m", "benchmarks.load", url, str(clients)]
    subprocess.run([*command, str(WARM_UP_S)], check=True, capture_output=True)
    done = subprocess.run([*command, str(seconds)], check=True, capture_output=True, text=True)
    answer = json.loads(done.stdout)
    return Load(answer["rate"], answer["p99_ms"], "benchmarks.load")


def main() -> None:
    """Run as a process."""
    url, clients, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    count, took = uvloop.run(generate(url, clients, seconds))
    print(json.dumps({"rate": count / seconds, "p99_ms": 1000 * percentile(took, 0.99)}))


if __name__ == "__main__":
    main()
