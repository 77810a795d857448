"""A TCP proxy between two processes: it passes bytes on until it is told to cut, to refuse, or to hold them."""

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter

CHUNK = 1 << 16
NO_LINGER = struct.pack("ii", 1, 0)  # closing sends a reset


class Proxy:
    """Listens at `host:port` (0 takes any free one) and connects to `to`."""

    def __init__(self, to: tuple[str, int], host: str = "127.0.0.1", port: int = 0) -> None:
        self.host, self.port = host, port
        self._to = to
        self._server: asyncio.Server | None = None
        self._writers: set[StreamWriter] = set()  # both ends of each connection
        self._open = True
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self.refuse()
        while self._writers:  # their handlers end by themselves
            await asyncio.sleep(0.01)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def cut(self) -> int:
        """Break every connection by a reset; the next one is welcome. Returns how many were broken."""
        self._flowing.set()
        for writer in self._writers:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            writer.transport.abort()
        return len(self._writers) // 2

    def refuse(self) -> int:
        """Break every connection and let none come about until `welcome`."""
        self._open = False
        return self.cut()

    def hold(self) -> int:
        """Keep all connections and pass nothing on until `welcome`: what a network does that loses packets."""
        self._flowing.clear()
        return len(self._writers) // 2

    def welcome(self) -> None:
        self._open = True
        self._flowing.set()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        ends = {writer}
        self._writers |= ends
        try:
            if not self._open:
                return
            far_reader, far_writer = await asyncio.open_connection(*self._to)
            ends.add(far_writer)
            self._writers |= ends
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, far_writer))
                pumps.create_task(self._pump(far_reader, writer))
        except* OSError:  # one side has gone, and so does the other
            pass
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: StreamReader, writer: StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError("end of the stream")
