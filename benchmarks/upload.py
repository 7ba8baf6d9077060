"""One upload on one stream: MB/s with hashing against the same server's body-read rate, and against `@tus/server`.

Lives here: the servers, the clients and the rounds. A bare client of our own shows what the server can do, since it
costs little beside it; tus-js-client shows what a browser's upload gets, from us and from `@tus/server`. Every round
asks each server in turn, so that a busy machine is busy for all of them. Without node or the packages in build/
(scripts/test-tools) the rows of tus-js-client are left out.
This module is also the body-reading server: `python -m benchmarks.upload discard PORT`.

BENCH_UPLOAD_MIB: size of an upload in the rounds. BENCH_UPLOAD_RSS_MIB: of the one whose memory is looked at; 10240 for
the figure of the goal.
"""

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import uvicorn
from starlette.types import Receive, Scope, Send

from benchmarks.rows import Row
from benchmarks.signed_in import headers, local_key
from benchmarks.stack import Process, Stack
from services.standalone import ports
from services.standalone.plan import module
from shared.heap import keep_large_buffers
from shared.secret_files import ensure_secret

MIB = int(os.environ.get("BENCH_UPLOAD_MIB", "512"))
RSS_MIB = int(os.environ.get("BENCH_UPLOAD_RSS_MIB", "2048"))
ROUNDS = 3
BLOCK = 1 << 20
PATH = "/api/uploads/tus"
BUILD = Path(__file__).parents[1] / "build"
TUS_JS, TUS_SERVER = BUILD / "tus-js", BUILD / "tus-server"
CLIENT = Path(__file__).with_name("tus_client.cjs")
SERVER = Path(__file__).with_name("tus_server.mjs")
BODY_GOAL, PEER_GOAL, SEALED_GOAL, RSS_GOAL = ">= 0.5", ">= 1.0", ">= 0.6", "<= 150"
TUS = {"Tus-Resumable": "1.0.0"}


def rows(directory: Path) -> Iterator[Row]:
    """Yield MB/s of each server by each client, the ratios, and the memory that a large upload takes."""
    film = directory / "film.mp4"
    _write_film(film, MIB)
    with Stack(directory / "data") as stack:
        stack.start_broker()
        stack.create_streams()
        chosen = ports.choose(["plain", "sealed", "discard", "peer"], {})
        plain = _ingest(stack, chosen["plain"], "plain", {})
        ensure_secret(stack.layout.data / "key")
        sealing = {"ENCRYPT_AT_REST": "1", "ARTIFACTS_KEY_FILE": str(stack.layout.data / "key")}
        _ingest(stack, chosen["sealed"], "sealed", {**sealing, "DUBLINE_DATA_DIR": str(directory / "sealed")})
        argv = (sys.executable, "-m", "benchmarks.upload", "discard", str(chosen["discard"]))
        stack.start(*argv, name="discard").wait_ready(_url(chosen["discard"]) + "/readyz")
        yield from _bare(film, chosen)
        yield from _real(stack, film, chosen, directory)
        film.unlink()
        yield from _memory(plain, chosen["plain"])


def _ingest(stack: Stack, port: int, name: str, environment: dict[str, str]) -> Process:
    environment = {
        "DUBLINE_INGEST_PORT": str(port),
        "MAX_UPLOAD_MB": str(max(MIB, RSS_MIB) + 1),
        "MIN_FREE_GB": "0.1",
        **environment,
    }
    process = stack.start(*module("services.ingest"), user="ingest", environment=environment, name=f"ingest-{name}")
    process.wait_ready(_url(port) + "/readyz")
    return process


def _url(port: int) -> str:
    return f"http://{ports.LOOPBACK}:{port}"


def _write_film(path: Path, mib: int) -> None:
    noise = os.urandom(BLOCK)
    with path.open("wb") as film:
        for number in range(mib):
            film.write(number.to_bytes(8, "big") + noise[8:])


def _bare(film: Path, chosen: dict[str, int]) -> Iterator[Row]:
    """Compare what the server does to bytes with what it costs to get them at all."""
    rates: dict[str, list[float]] = {"plain": [], "sealed": [], "discard": []}
    for _ in range(ROUNDS):
        for name, rate in rates.items():
            url = "/" if name == "discard" else _create(chosen[name], film.stat().st_size)
            rate.append(_send(film, chosen[name], url))
            if name != "discard":
                _remove(chosen[name], url)
    named = {"plain": "hashed and kept", "sealed": "hashed and kept encrypted", "discard": "read and thrown away"}
    for name, words in named.items():
        yield Row(f"upload of {MIB} MiB, one stream: {words}", statistics.median(rates[name]), "MB/s")
    yield Row("upload: hashed and kept", _ratio(rates, "plain", "discard"), "x", "body-read rate", BODY_GOAL)
    yield Row("upload: encrypted", _ratio(rates, "sealed", "plain"), "x", "plain", SEALED_GOAL)


def _ratio(rates: dict[str, list[float]], ours: str, peer: str) -> float:
    return statistics.median(one / other for one, other in zip(rates[ours], rates[peer], strict=True))


def _create(port: int, size: int) -> str:
    answer = httpx.post(_url(port) + PATH, headers=headers() | TUS | {"Upload-Length": str(size)}, trust_env=False)
    answer.raise_for_status()
    return answer.headers["Location"]


def _remove(port: int, url: str) -> None:
    httpx.delete(_url(port) + url, headers=headers() | TUS, trust_env=False, timeout=60).raise_for_status()


def _send(film: Path, port: int, url: str) -> float:
    """Return MB/s of one PATCH, from its first byte to the answer. Raises RuntimeError, OSError."""
    size = film.stat().st_size
    head = (
        f"PATCH {url} HTTP/1.1\r\nHost: {ports.LOOPBACK}\r\nX-Api-Key: {local_key()}\r\nTus-Resumable: 1.0.0\r\n"
        f"Upload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: {size}\r\n\r\n"
    )
    with socket.create_connection((ports.LOOPBACK, port), 300) as connection, film.open("rb") as file:
        started = time.perf_counter()
        connection.sendall(head.encode())
        connection.sendfile(file)
        answer = connection.recv(4096)
        took_s = time.perf_counter() - started
    if not answer.startswith(b"HTTP/1.1 204"):
        raise RuntimeError(answer.decode(errors="replace"))
    return size / took_s / 1e6


def _real(stack: Stack, film: Path, chosen: dict[str, int], directory: Path) -> Iterator[Row]:
    """Compare with the reference server of tus' authors, by its authors' own client."""
    node = shutil.which("node")
    if node is None or not all((path / "node_modules").is_dir() for path in (TUS_JS, TUS_SERVER)):
        print("upload: tus-js-client and @tus/server left out: they need node, and sh scripts/test-tools")
        return
    kept = directory / "peer"
    kept.mkdir()
    argv = (node, str(SERVER), str(TUS_SERVER), str(chosen["peer"]), str(kept))
    stack.start(*argv, name="tus-server").wait_ready(_url(chosen["peer"]) + "/readyz")
    rates: dict[str, list[float]] = {"plain": [], "sealed": [], "peer": []}
    for _ in range(ROUNDS):
        for name, rate in rates.items():
            endpoint = _url(chosen[name]) + PATH
            done = subprocess.run(
                [node, CLIENT, TUS_JS, film, endpoint, local_key()], capture_output=True, text=True, check=True
            )
            seconds, url = done.stdout.split()
            rate.append(film.stat().st_size / float(seconds) / 1e6)
            if name == "peer":
                for path in kept.iterdir():
                    path.unlink()
            else:
                _remove(chosen[name], httpx.URL(url).path)
    named = {"plain": "Dubline", "sealed": "Dubline, encrypted", "peer": "@tus/server, which does not hash"}
    for name, words in named.items():
        yield Row(f"tus-js-client, {MIB} MiB: {words}", statistics.median(rates[name]), "MB/s")
    yield Row("tus-js-client: Dubline", _ratio(rates, "plain", "peer"), "x", "@tus/server", PEER_GOAL)


def _memory(ingest: Process, port: int) -> Iterator[Row]:
    """Look at ingest's highest memory after an upload of which it could hold only a part."""
    size = RSS_MIB * BLOCK
    url, noise = _create(port, size), os.urandom(BLOCK)
    sent = 0
    while sent < size:  # a PATCH of a GiB each, made as it is sent: the film need not lie on the disk twice
        length = min(1 << 30, size - sent)
        _send_noise(port, url, sent, length, noise)
        sent += length
    _remove(port, url)
    status = Path(f"/proc/{ingest.pid}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak
    yield Row(f"ingest's highest memory, upload of {RSS_MIB} MiB", int(peak[1]) / 1024, "MiB", None, RSS_GOAL)


def _send_noise(port: int, url: str, offset: int, length: int, noise: bytes) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(length // BLOCK):
            yield noise

    sent = {**headers(), **TUS, "Upload-Offset": str(offset), "Content-Length": str(length)}
    sent["Content-Type"] = "application/offset+octet-stream"
    httpx.patch(_url(port) + url, headers=sent, content=body(), trust_env=False, timeout=300).raise_for_status()


async def discard(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI: read a body and forget it."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body", False):
        pass
    status = 204 if scope["method"] == "PATCH" else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    # As ingest runs it (services.ingest.__main__).
    keep_large_buffers()
    uvicorn.run(discard, host=ports.LOOPBACK, port=int(sys.argv[2]), log_config=None, access_log=False, lifespan="off")
