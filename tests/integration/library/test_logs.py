"""A job's log over HTTP: its end, its last lines, and what follows, while workers write and rotate it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from services.library import logs
from services.library.logs import LogFollower, end_of_log, last_lines, start_of_last_lines
from shared.events.types import JobCanceled
from shared.identity import uuid7
from tests import local_http
from tests.factories import event, submitted
from tests.integration.library.conftest import LibraryProcess, append_all


def base_of(library: LibraryProcess, job_id: str) -> Path:
    base = library.layout.output / f"film-{job_id[-12:]}"
    base.mkdir(parents=True, exist_ok=True)
    return base


async def a_job(library: LibraryProcess) -> tuple[str, Path]:
    job = uuid7()
    base = base_of(library, job)
    await asyncio.to_thread(library.append, submitted(job, base_dir=base.name))
    return job, base / "job.log"


def ask(library: LibraryProcess, path: str) -> httpx.Response:
    return local_http.get(library.url + path, timeout=10)


async def frames(library: LibraryProcess, path: str, **headers: str) -> AsyncIterator[tuple[str, str]]:
    """Yield (event, data) of each frame, and ("id", place) where the stream says one."""
    async with (
        local_http.async_client(timeout=10) as client,
        client.stream("GET", library.url + path, headers=headers) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        kind = ""
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                yield kind, value
            elif name == "id":
                yield name, value


async def test_a_log_is_text_and_a_tail_is_its_last_lines(library: LibraryProcess) -> None:
    job, log = await a_job(library)
    assert (await asyncio.to_thread(ask, library, f"/api/jobs/{job}/logs")).text == "", "nothing was written yet"
    log.write_text("".join(f"line {number} <b>é</b>\n" for number in range(1000)))
    whole = await asyncio.to_thread(ask, library, f"/api/jobs/{job}/logs")
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.text == log.read_text()
    tail = await asyncio.to_thread(ask, library, f"/api/jobs/{job}/logs/tail?n=3")
    assert tail.text.splitlines() == [f"line {number} <b>é</b>" for number in (997, 998, 999)]
    default = await asyncio.to_thread(ask, library, f"/api/jobs/{job}/logs/tail")
    assert len(default.text.splitlines()) == 200


@pytest.mark.parametrize("query", ["n=0", "n=5001", "n=x"])
async def test_a_tail_of_another_length_is_refused(library: LibraryProcess, query: str) -> None:
    job, _ = await a_job(library)
    assert (await asyncio.to_thread(ask, library, f"/api/jobs/{job}/logs/tail?{query}")).status_code == 422


@pytest.mark.parametrize("path", ["", "/tail", "/stream"])
async def test_a_job_that_is_not_there_has_no_log(library: LibraryProcess, path: str) -> None:
    assert (await asyncio.to_thread(ask, library, f"/api/jobs/{uuid7()}/logs{path}")).status_code == 404


async def test_a_log_that_is_a_link_is_not_followed(library: LibraryProcess, tmp_path: Path) -> None:
    job, log = await a_job(library)
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    log.symlink_to(secret)
    for path in ("", "/tail", "/stream?once=1"):
        assert "secret" not in (await asyncio.to_thread(ask, library, f"/api/jobs/{job}/logs{path}")).text


async def test_a_stream_is_the_tail_and_what_follows_once_and_escaped(library: LibraryProcess) -> None:
    """E3: the predecessor sent lines as HTML that they were not, and after the tail the whole file again."""
    job, log = await a_job(library)
    log.write_text("".join(f"old {number}\n" for number in range(500)))
    seen = []
    async for kind, data in frames(library, f"/api/jobs/{job}/logs/stream?n=2"):
        if kind == "log":
            seen.append(data)
        if seen == ["<div>old 498</div>", "<div>old 499</div>"] and kind == "id":
            with log.open("a") as file:
                file.write("<script>alert('1')</script>\r\nhalf")
                file.flush()
                await asyncio.sleep(0.1)
                file.write(" a line\n50 %\r100 %\n")
        elif data == "<div>50 % 100 %</div>":
            log.rename(log.with_name("job.log.1"))
            log.write_text("after the rotation\n")
        elif data == "<div>after the rotation</div>":
            log.write_text("emptied\n")
        elif data == "<div>emptied</div>":
            with log.open("a") as file:
                file.write("last words")
            await append_all(library.broker, (event(JobCanceled, job, kill=True),))
        elif kind == "end":
            break
    assert seen[2:] == [
        "<div>&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;</div>", "<div>half a line</div>",
        "<div>50 % 100 %</div>", "<div>after the rotation</div>", "<div>emptied</div>", "<div>last words</div>",
    ]  # fmt: skip


async def test_a_stream_goes_on_where_it_was_lost(library: LibraryProcess) -> None:
    job, log = await a_job(library)
    log.write_text("one\ntwo\n")
    heard = [frame async for frame in frames(library, f"/api/jobs/{job}/logs/stream?once=1&n=1")]
    assert [data for kind, data in heard if kind == "log"] == ["<div>two</div>"]
    place = [data for kind, data in heard if kind == "id"][-1]
    assert heard[-1][0] == "end"
    with log.open("a") as file:
        file.write("three\n")
    log.rename(log.with_name("job.log.1"))
    log.write_text("four\n")
    again = frames(library, f"/api/jobs/{job}/logs/stream?once=1", **{"Last-Event-ID": place})
    assert [data async for kind, data in again if kind == "log"] == ["<div>three</div>", "<div>four</div>"]


async def test_a_stream_of_a_log_that_is_not_there_yet_waits_for_it(library: LibraryProcess) -> None:
    job, log = await a_job(library)
    stream = frames(library, f"/api/jobs/{job}/logs/stream")
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.1)
    log.write_text("here\n")
    assert await asyncio.wait_for(first, 10) == ("log", "<div>here</div>")
    await stream.aclose()


def write(root: Path, text: str, name: str = "job.log") -> None:
    (root / "film").mkdir(exist_ok=True)
    (root / "film" / name).write_text(text)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("text", ["", "\n", "a", "a\n", "\n\n", "a\nb", "a\nbb\nccc\n", "\n\na\n\nb\n\n"])
def test_the_last_lines_are_those_of_the_whole_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, block: int
) -> None:
    monkeypatch.setattr(logs, "BLOCK", block)
    write(tmp_path, text)
    lines = text.splitlines(keepends=True)
    for count in range(1, 9):
        assert last_lines(tmp_path, "film", count).decode() == "".join(lines[-count:])


def test_a_tail_reads_no_more_than_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E4: the predecessor read the whole file for its last lines."""
    write(tmp_path, "x" * 99 + "\n")
    with (tmp_path / "film" / "job.log").open("a") as file:
        file.truncate(1 << 40)
        file.write("last\n")
    read = 0
    pread = logs.os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        nonlocal read
        read += size
        return pread(fd, size, offset)

    monkeypatch.setattr(logs.os, "pread", counted)
    with logs.opened(tmp_path, "film", "job.log") as fd:
        assert fd is not None
        start_of_last_lines(fd, 5)
    assert read <= logs.WHOLE_MAX_BYTES


def test_a_tail_goes_on_in_the_older_log(tmp_path: Path) -> None:
    write(tmp_path, "1\n2\n", "job.log.1")
    write(tmp_path, "3\n")
    assert last_lines(tmp_path, "film", 2) == b"2\n3\n"
    assert end_of_log(tmp_path, "film") == b"1\n2\n3\n"


def test_a_very_long_log_is_sent_from_a_line_on_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "WHOLE_MAX_BYTES", 10)
    write(tmp_path, "older\n", "job.log.1")
    write(tmp_path, "123\n456\n789\n")
    assert end_of_log(tmp_path, "film") == b"[the first 10 bytes are left out]\n456\n789\n"


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    write(tmp_path, "x" * 300_000)
    follower = LogFollower(tmp_path, "film")
    follower.start(None, 10)
    pieces = []
    while lines := follower.read():
        pieces += lines
    pieces += follower.flush()
    assert sum(map(len, pieces)) == 300_000
    assert max(map(len, pieces)) == logs.LINE_MAX_BYTES
