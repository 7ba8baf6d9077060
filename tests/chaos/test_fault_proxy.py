"""The proxy that chaos tests put between a worker and the broker does what each fault says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.fault_proxy import LOOPBACK, FaultProxy, running_proxy

SHORT_S = 0.2
"""Long enough that something which comes over loopback has come."""

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """A proxy in front of a server that sends everything back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while block := await reader.read(1 << 16):
                writer.write(block)
                await writer.drain()
        writer.close()

    async with (
        await asyncio.start_server(echo, LOOPBACK, 0) as server,
        running_proxy(server.sockets[0].getsockname()[1]) as proxy,
    ):
        yield proxy


@contextlib.asynccontextmanager
async def connection(proxy: FaultProxy) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection(LOOPBACK, proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def nothing_comes(reader: asyncio.StreamReader) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SHORT_S):
            await reader.read(1)
            return False
    return True


async def is_broken(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(5):
            return await reader.read(1) == b""
    except ConnectionError:
        return True


async def test_it_forwards_in_both_directions(proxy: FaultProxy) -> None:
    async with connection(proxy) as (reader, writer):
        writer.write(b"x" * 300_000)
        assert await reader.readexactly(300_000) == b"x" * 300_000


async def test_a_blackhole_holds_everything_back_until_it_heals(proxy: FaultProxy) -> None:
    async with connection(proxy) as (reader, writer):
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        proxy.blackhole()
        writer.write(b"during")
        assert await nothing_comes(reader)
        proxy.heal()
        assert await reader.readexactly(6) == b"during"


async def test_a_blackhole_swallows_new_connections(proxy: FaultProxy) -> None:
    proxy.blackhole()
    async with connection(proxy) as (reader, writer):
        writer.write(b"hello")
        assert await nothing_comes(reader)
        proxy.heal()
        assert await reader.readexactly(5) == b"hello"


async def test_a_half_open_connection_loses_what_is_sent_and_breaks_when_it_heals(proxy: FaultProxy) -> None:
    async with connection(proxy) as (reader, writer):
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        proxy.half_open()
        writer.write(b"lost")
        assert await nothing_comes(reader)
        proxy.heal()
        assert await is_broken(reader)


async def test_a_reset_breaks_what_is_there_and_nothing_else(proxy: FaultProxy) -> None:
    async with connection(proxy) as (reader, writer):
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        proxy.reset()
        assert await is_broken(reader)
    async with connection(proxy) as (reader, writer):
        writer.write(b"after")
        assert await reader.readexactly(5) == b"after"


async def test_a_slow_network_loses_nothing(proxy: FaultProxy) -> None:
    proxy.slow(delay_s=0.001, piece=3)
    async with connection(proxy) as (reader, writer):
        writer.write(bytes(range(100)))
        assert await reader.readexactly(100) == bytes(range(100))


async def test_a_server_that_is_gone_breaks_the_clients_connection() -> None:
    async with running_proxy(1) as proxy, connection(proxy) as (reader, _):
        assert await is_broken(reader)
