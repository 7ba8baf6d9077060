"""A TCP proxy that can be made to fail, for one service and the broker: between them lies the network.

Lives here: forwarding, and the faults of a network. Does not live here: when one happens (`tests.chaos.faults`).
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

LOOPBACK = "127.0.0.1"
BLOCK = 1 << 16
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: closing sends RST instead of FIN."""


@dataclass(eq=False)
class _Link:
    """One forwarded connection: both ends of it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    severed: asyncio.Event = field(default_factory=asyncio.Event)
    """The server's end is gone and the client does not know."""

    def reset(self) -> None:
        for writer in (self.client, self.server):
            raw: socket.socket = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            writer.transport.abort()


class FaultProxy:
    """Listens on a free port of loopback and forwards to `target_port`. Faults last until `heal`."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._delay_s = 0.0
        self._piece = BLOCK

    async def start(self) -> None:
        """Listen. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Listen no more and end every connection."""
        if self._server is None:
            return
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def blackhole(self) -> None:
        """Let nothing through and tell nobody. What is under way arrives late, as after a partition."""
        self._open.clear()

    def slow(self, delay_s: float, piece: int) -> None:
        """Forward `piece` bytes every `delay_s` seconds in each direction of each connection."""
        self._delay_s, self._piece = delay_s, piece

    def half_open(self) -> None:
        """Close every connection towards the server; the client's end stays open, and what it sends is lost."""
        for link in self._links:
            link.severed.set()
            link.server.close()

    def reset(self) -> None:
        """Break every connection with RST, once; new ones are forwarded."""
        for link in tuple(self._links):
            link.reset()

    def heal(self) -> None:
        """Forward again; connections whose other end is gone are broken."""
        self._delay_s, self._piece = 0.0, BLOCK
        self._open.set()
        for link in tuple(self._links):
            if link.severed.is_set():
                link.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            await self._forward(reader, writer)
        except (OSError, asyncio.CancelledError):  # an end that is gone, or `close`: both end the connection
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        answers, server = await asyncio.open_connection(LOOPBACK, self._target_port)
        link = _Link(client=writer, server=server)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, server, link))
                pumps.create_task(self._pump(answers, writer, link))
        except* OSError:
            pass
        finally:
            self._links.discard(link)
            server.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link) -> None:
        """Forward one direction until its end; raises OSError so that the other direction ends with it."""
        to_server = writer is link.server
        while block := await self._read(reader):
            await self._open.wait()
            if link.severed.is_set():
                continue
            writer.write(block)
            await writer.drain()
        if link.severed.is_set() and not to_server:
            return  # the client must not hear that the server is gone
        await self._open.wait()
        raise ConnectionResetError

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        await asyncio.sleep(self._delay_s)
        return await reader.read(self._piece)


@contextlib.asynccontextmanager
async def running_proxy(target_port: int) -> AsyncIterator[FaultProxy]:
    """Yield a proxy that forwards; it is closed at the end."""
    proxy = FaultProxy(target_port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
