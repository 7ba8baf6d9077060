"""tus-js-client and tuspy, as they are, bring 1 GiB through cut connections and a service that is killed twice.

Each upload meets the same faults: connections broken with RST, one whose end nobody hears of, kill -9 of ingest twice.
What counts is the SHA-256 at the end, and that no client had to begin again.
"""

import asyncio
import hashlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests import local_http
from tests.broker import BinaryBroker
from tests.fault_proxy import FaultProxy, running_proxy
from tests.integration.ingest.uploads.restarting import Restarting, restarting

ROOT = Path(__file__).parents[4]
HERE = Path(__file__).parent
TUS_JS = ROOT / "build" / "tus-js"
MIB = int(os.environ.get("UPLOAD_TEST_MIB", "1024"))
BLOCK = 1 << 20
CLIENT_TIMEOUT_S = 200


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """1 GiB in which no two MiB are the same, made in a second; and its digest."""
    path, digest = tmp_path_factory.mktemp("film") / "film.mp4", hashlib.sha256()
    noise = os.urandom(BLOCK)
    with path.open("wb") as file:
        for number in range(MIB):
            block = number.to_bytes(8, "big") + noise[8:]
            file.write(block)
            digest.update(block)
    yield path, digest.hexdigest()
    path.unlink()


@pytest.fixture
def ingest(own_broker: BinaryBroker, tmp_path: Path) -> Iterator[Restarting]:
    with restarting(tmp_path, own_broker.url) as running:
        yield running
        shutil.rmtree(running.layout.uploads)


@pytest.fixture
async def proxy(ingest: Restarting) -> AsyncIterator[FaultProxy]:
    async with running_proxy(ingest.port) as running:
        yield running


async def reached(ingest: Restarting, share: float, client: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(CLIENT_TIMEOUT_S):
        while ingest.received() < share * MIB * BLOCK:
            assert client.returncode is None, "the client ended before its upload did"
            await asyncio.sleep(0.02)


async def upload(ingest: Restarting, proxy: FaultProxy, *argv: str | Path, **environment: str) -> dict[str, object]:
    """Run a client through every fault; return what it says at the end."""
    said = ingest.data.parent / "client.log"
    with said.open("wb") as output:
        client = await asyncio.create_subprocess_exec(
            *argv, cwd=ROOT, env=os.environ | environment, stdout=output, stderr=output
        )
    try:
        await reached(ingest, 0.10, client)
        proxy.reset()
        await reached(ingest, 0.25, client)
        ingest.kill()
        await asyncio.to_thread(ingest.start)
        await reached(ingest, 0.45, client)
        proxy.half_open()
        await asyncio.sleep(0.3)
        proxy.heal()
        await reached(ingest, 0.65, client)
        ingest.kill()
        await asyncio.to_thread(ingest.start)
        await reached(ingest, 0.85, client)
        proxy.reset()
        async with asyncio.timeout(CLIENT_TIMEOUT_S):
            await client.wait()
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
    lines = said.read_text().splitlines()
    assert client.returncode == 0, lines[-30:]
    return dict(json.loads(lines[-1]))


async def check(ingest: Restarting, told: dict[str, object], sha256: str) -> None:
    upload_id = str(told["url"]).rsplit("/", 1)[1]
    assert int(str(told["retries"])) >= 4, "the faults reached it"
    assert [path.name for path in ingest.layout.uploads.glob("*.bytes")] == [f"{upload_id}.bytes"], "begun once"
    status = await asyncio.to_thread(ingest.status, upload_id)
    assert (status["state"], status["received_bytes"], status["sha256"]) == ("complete", MIB * BLOCK, sha256)


@pytest.mark.timeout(280)
async def test_tus_js_client_brings_a_gibibyte_through_cuts_and_kills(
    ingest: Restarting, proxy: FaultProxy, film: tuple[Path, str]
):
    node = shutil.which("node")
    if node is None or not (TUS_JS / "node_modules" / "tus-js-client").is_dir():
        pytest.skip("needs node, and tus-js-client in build/tus-js: sh scripts/test-tools")
    endpoint = f"http://127.0.0.1:{proxy.port}/api/uploads/tus"
    argv = [node, HERE / "tus_js_upload.cjs", film[0], endpoint, local_http.local_key()]
    told = await upload(ingest, proxy, *argv, TUS_JS=str(TUS_JS))
    await check(ingest, told, film[1])


@pytest.mark.timeout(280)
async def test_tuspy_brings_a_gibibyte_through_cuts_and_kills(
    ingest: Restarting, proxy: FaultProxy, film: tuple[Path, str]
):
    endpoint = f"http://127.0.0.1:{proxy.port}/api/uploads/tus"
    argv = [sys.executable, HERE / "tuspy_upload.py", film[0], endpoint, local_http.local_key(), str(32 * BLOCK)]
    told = await upload(ingest, proxy, *argv)
    await check(ingest, told, film[1])
