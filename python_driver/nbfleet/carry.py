"""Many connections over one pair of pipes, with Python's own library alone.

The same text runs here, where it listens on 127.0.0.1, and over there, where it connects to the server; `bridge.py`
puts an ssh session between the two. Each connection may have a window of bytes under way, so that a slow one neither
holds up the others nor fills the memory.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]

HEAD = struct.Struct(">cII")  # kind, number of the connection, length of the data or count
OPEN, DATA, TAKEN, END, ABORT, READY = (bytes([letter]) for letter in b"odtear")
WINDOW = 1 << 20
PIECE = 1 << 15
BEGIN = 30  # seconds that the other end has to begin
IDLE = 300  # seconds without a connection after which nobody needs this any more


class Line:
    """One connection: what came for it, and how much may still be sent."""

    def __init__(self, work: Coroutine[None, None, None]) -> None:
        self.inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.credit = WINDOW
        self.granted = asyncio.Event()
        self.task = asyncio.ensure_future(work)


class Carrier:
    """One end of the pipes.

    Args:
        reader: Where frames come from.
        writer: Where they go.
        connect: Opens a connection for the other side; None at the end that listens.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connect: Callable[[], Awaitable[Ends]] | None = None,
    ) -> None:
        self.reader, self.writer, self.connect = reader, writer, connect
        self.lines: dict[int, Line] = {}
        self.lock = asyncio.Lock()  # one drain at a time
        self.count = 0
        self.used = asyncio.get_running_loop().time()

    async def send(self, kind: bytes, number: int = 0, data: bytes = b"", count: int = 0) -> None:
        """Send a frame."""
        async with self.lock:
            self.writer.write(HEAD.pack(kind, number, len(data) or count) + data)
            await self.writer.drain()

    async def run(self) -> None:
        """Take frames until the pipe ends."""
        try:
            while True:
                kind, number, size = HEAD.unpack(await self.reader.readexactly(HEAD.size))
                data = await self.reader.readexactly(size) if kind == DATA else b""
                line = self.lines.get(number)
                if kind == OPEN and self.connect:
                    self.add(number, self.answer(number, self.connect))
                elif kind == TAKEN and line:
                    line.credit += size
                    line.granted.set()
                elif kind in (DATA, END) and line:
                    line.inbox.put_nowait(data)  # nothing stands for the end
                elif kind == ABORT and line:
                    line.task.cancel()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    def add(self, number: int, work: Coroutine[None, None, None]) -> None:
        """Begin a connection."""
        line = self.lines[number] = Line(work)
        line.task.add_done_callback(lambda _: self.lines.pop(number, None))

    async def answer(self, number: int, connect: Callable[[], Awaitable[Ends]]) -> None:
        """Connect to the server for the other side."""
        try:
            ends = await connect()
        except OSError:
            await self.send(ABORT, number)
        else:
            await self.carry(number, *ends)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a new connection at the end that listens."""
        self.count += 1
        number = self.count
        self.add(number, self.carry(number, reader, writer))
        await self.send(OPEN, number)

    async def carry(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection both ways until both sides have ended, or one broke off."""
        line = self.lines[number]
        up = asyncio.ensure_future(self.up(number, line, reader))
        try:
            while data := await line.inbox.get():
                writer.write(data)
                await writer.drain()
                await self.send(TAKEN, number, count=len(data))
            writer.write_eof()
            await up
        except OSError:
            await self.send(ABORT, number)
        finally:
            up.cancel()
            writer.close()
            self.used = asyncio.get_running_loop().time()

    async def up(self, number: int, line: Line, reader: asyncio.StreamReader) -> None:
        """Send what the connection says, as far as the other side takes it."""
        try:
            while data := await reader.read(min(PIECE, line.credit)):
                line.credit -= len(data)
                await self.send(DATA, number, data)
                while not line.credit:
                    line.granted.clear()
                    await line.granted.wait()
            await self.send(END, number)
        except OSError:
            await self.send(ABORT, number)
            line.task.cancel()


async def far(place: str) -> None:
    """Be the end at the server: a port of this machine, or a socket's path."""

    async def connect() -> Ends:
        if place.isdigit():
            return await asyncio.open_connection("127.0.0.1", int(place))
        return await asyncio.open_unix_connection(place)

    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb"))
    pipe, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(1, "wb"))
    carrier = Carrier(reader, asyncio.StreamWriter(pipe, protocol, None, loop), connect)
    await carrier.send(READY)
    await carrier.run()


async def near(port: int, command: list[str]) -> str:
    """Be the end that listens; say `open` once the other end is there, and go when it goes or nobody comes.

    Returns:
        Why it never began, or nothing.
    """
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, child.terminate)
    try:
        assert child.stdout  # noqa: S101 - it was asked for
        assert child.stdin  # noqa: S101
        await asyncio.wait_for(child.stdout.readexactly(HEAD.size), BEGIN)
        carrier = Carrier(child.stdout, child.stdin)
        async with await asyncio.start_server(carrier.accept, "127.0.0.1", port):
            sys.stdout.write("open\n")
            sys.stdout.flush()
            frames = asyncio.ensure_future(carrier.run())
            while not (await asyncio.wait([frames], timeout=10))[0]:
                if not carrier.lines and loop.time() - carrier.used > IDLE:
                    break
    except (TimeoutError, asyncio.IncompleteReadError, OSError) as error:
        return str(error) or "nothing came back"
    finally:
        if child.returncode is None:
            child.terminate()
            await child.wait()
    return ""


if __name__ == "__main__":
    if sys.argv[1] == "near":
        sys.exit(asyncio.run(near(int(sys.argv[2]), sys.argv[3:])))
    else:
        asyncio.run(far(sys.argv[2]))
