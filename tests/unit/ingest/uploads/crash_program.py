"""Uploads in processes that are killed at the n-th system call which changes a file; what is left is then judged.

Each child forks from here, tells through a pipe what it was answered, and dies by SIGKILL right before, in the middle
of, or right after one call. Prints one JSON line for each point. Nobody else's process is touched.
"""

import asyncio
import base64
import hashlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from services.ingest.uploads.chunks import append_chunk, complete
from services.ingest.uploads.claims import claimed
from services.ingest.uploads.medium import PLAIN, Media
from services.ingest.uploads.sealed import media_of
from services.ingest.uploads.store import Upload
from services.ingest.uploads.tus import checksum_of
from services.ingest.uploads.uploads import Uploads
from shared.layout import Layout
from shared.problems import Problem
from shared.sealing.classes import CLASSES
from shared.sealing.keyring import Keyring
from shared.sealing.vault import Vault
from tests.unit.ingest.uploads.made import ALICE, CHUNK, Broker, begun, body, uploads_at

CALLS = ("write", "pwrite", "fdatasync", "fsync", "ftruncate", "unlink", "rename", "replace", "open")
POINTS = 20
BY_TUS = random.Random(4).randbytes(700_000)
BY_CHUNKS = random.Random(5).randbytes(CHUNK * 2 + 1000)
SIZES = {"tus": len(BY_TUS), "chunks": len(BY_CHUNKS), "removed": 10}
real_write = os.write


class Killer:
    """Counts the calls that change files below `root`, and ends this process at one of them."""

    def __init__(self, at: int) -> None:
        self.count = 0
        self._at = at

    def install(self) -> None:
        for name in CALLS:
            setattr(os, name, self._deadly(getattr(os, name), torn=name in ("write", "pwrite")))

    def _deadly(self, call: Callable[..., Any], *, torn: bool) -> Callable[..., Any]:
        def before_and_after(*args: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == self._at:
                if torn and self._at % 3 == 0:
                    call(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*args, **options)
            self.count += 1
            if self.count == self._at:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return before_and_after


def checksum(data: bytes) -> Any:
    return checksum_of("sha256 " + base64.b64encode(hashlib.sha256(data).digest()).decode())


async def live(uploads: Uploads, layout: Layout, say: Callable[..., None]) -> None:
    """What clients do, and what they were told by then."""
    upload = await begun(uploads, len(BY_TUS))
    say("tus", upload.id, 0)
    for at in (0, 200_000):
        say("tus", upload.id, await uploads.append(upload, at, None, body(BY_TUS[at : at + 200_000]), None))
    try:
        await uploads.append(upload, 400_000, None, body(b"wrong" * 20_000), checksum(b"right"))
    except Problem:
        say("tus", upload.id, upload.offset)
    piece = BY_TUS[400_000:600_000]
    say("tus", upload.id, await uploads.append(upload, 400_000, None, body(piece), checksum(piece)))
    say("tus", upload.id, await uploads.append(upload, 600_000, None, body(BY_TUS[600_000:]), None))
    say("completed", upload.id, len(BY_TUS))
    by_chunks = await begun(uploads, len(BY_CHUNKS), in_chunks=True)
    for index in range(3):
        part = BY_CHUNKS[index * CHUNK : (index + 1) * CHUNK]
        await append_chunk(
            uploads, by_chunks, index, index * CHUNK, len(part), hashlib.sha256(part).hexdigest(), body(part)
        )
        say("chunks", by_chunks.id, by_chunks.offset)
    await complete(uploads, by_chunks, None)
    say("completed", by_chunks.id, len(BY_CHUNKS))
    removed = await begun(uploads, 10)
    say("removed", removed.id, 0)
    await uploads.remove(removed, "terminated", "u_alice")
    say("gone", removed.id, 0)
    async with claimed(uploads, layout, upload, ALICE) as source:
        source.promote("mov,mp4")
    say("used", upload.id, len(BY_TUS))


async def judge(uploads: Uploads, layout: Layout, told: list[tuple[str, str, int]]) -> list[str]:
    """Return what is wrong with what a killed process left."""
    told_of: dict[str, list[tuple[str, int]]] = {}
    for what, upload_id, offset in told:
        told_of.setdefault(upload_id, []).append((what, offset))
    await uploads.sweep()
    wrong: list[str] = []
    for upload in uploads.store.all():
        wrong += broken_promises(upload, told_of.pop(upload.id, []))
        wrong += await unfinished(uploads, upload)
    wrong += [f"{upload_id} is lost" for upload_id in told_of]
    for path in layout.uploads.iterdir():
        if path.name.startswith("up_") and uploads.store.get(path.name.split(".")[0]) is None:
            wrong.append(f"{path.name} is nobody's")
    return wrong


def broken_promises(upload: Upload, said: list[tuple[str, int]]) -> list[str]:
    """Return what a client was told of an upload and what is not so."""
    state = upload.record.state
    words, acknowledged = {what for what, _ in said}, max((offset for _, offset in said), default=0)
    wrong = [
        f"{upload.id} was {word} and is {state}"
        for word, states in {"gone": ["removed"], "completed": ["complete", "used"], "used": ["used"]}.items()
        if word in words and state not in states
    ]
    if state != "removed" and upload.offset < acknowledged:
        wrong.append(f"{upload.id} went back from {acknowledged} to {upload.offset}")
    return wrong


async def unfinished(uploads: Uploads, upload: Upload) -> list[str]:
    """Send what is missing, and return what is wrong with the whole."""
    record = upload.record
    whole = {SIZES["tus"]: BY_TUS, SIZES["chunks"]: BY_CHUNKS}.get(record.total_bytes, b"")
    if record.state == "receiving" and whole:
        if not record.ends_on_request and upload.offset == record.total_bytes:
            return [f"{upload.id} is whole and not complete"]
        await uploads.append(upload, upload.offset, None, body(whole[upload.offset :]), None)
        if record.ends_on_request:
            await complete(uploads, upload, None)
    if upload.record.state == "complete":
        medium = uploads.store.media.of(sealed=record.sealed)
        kept = b"".join(medium.read(upload.received.path, upload.id))
        if kept != whole or upload.record.sha256 != hashlib.sha256(whole).hexdigest():
            return [f"{upload.id} is another file"]
    return []


def run_child(data: Path, media: Media, at: int) -> tuple[list[tuple[str, str, int]], int, int]:
    """Fork, live until the kill, and return what was told, the number of calls and the signal."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        killer = Killer(at)
        killer.install()

        def say(*words: Any) -> None:
            real_write(writing, (json.dumps([*words]) + "\n").encode())

        uploads = uploads_at(data, media=media)
        asyncio.run(live(uploads, Layout(data.resolve()), say))
        real_write(writing, (json.dumps([killer.count]) + "\n").encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        lines = [json.loads(line) for line in told]
    _, status = os.waitpid(pid, 0)
    count = lines.pop()[0] if lines and len(lines[-1]) == 1 else 0
    return [(what, upload_id, offset) for what, upload_id, offset in lines], count, status


def main(directory: Path, kind: str) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

    def media_in(data: Path) -> Media:
        if kind == "plain":
            return PLAIN
        return media_of(Vault(Keyring((bytes(32),)), frozenset(CLASSES), Layout(data).output))

    whole = directory / "whole"
    _, calls, status = run_child(whole, media_in(whole), 0)
    assert status == 0, status
    for point in range(POINTS):
        at = 1 + point * calls // POINTS
        data = directory / f"point-{point}"
        told, _, status = run_child(data, media_in(data), at)
        uploads = uploads_at(data, Broker(), media=media_in(data))
        wrong = asyncio.run(judge(uploads, Layout(data.resolve()), told))
        told_last = told[-1] if told else None
        point_told = {"at": at, "of": calls, "signal": status, "told": told_last, "wrong": wrong}
        sys.stdout.write(json.dumps(point_told) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
