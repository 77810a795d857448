"""Connections without a network: a server's protocol is given a request's bytes, what it writes is counted."""

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp.web import RequestHandler

from bench.rigs.still import News


class Meter:
    """What all wires of a rig have carried."""

    def __init__(self) -> None:
        self.writes = 0
        self.bytes = 0
        self.carried = 0  # wires that have carried anything since `again`
        self.round = 0
        self.news = News()

    def again(self) -> None:
        self.carried = 0
        self.round += 1


class Wire(asyncio.Transport):
    """A client's end."""

    def __init__(self, protocol: asyncio.Protocol, meter: Meter) -> None:
        super().__init__()
        self._protocol = protocol
        self._meter = meter
        self._round = -1

    def write(self, data: bytes | bytearray | memoryview) -> None:
        meter = self._meter
        meter.writes += 1
        meter.bytes += len(data)
        if self._round != meter.round:
            self._round = meter.round
            meter.carried += 1
        meter.news.tell()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def hang_up(self) -> None:
        self._protocol.connection_lost(None)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


def ask(server: Callable[[], RequestHandler], meter: Meter, path: str, body: bytes = b"") -> Wire:
    """A client that sends one request and then reads."""
    protocol = server()
    wire = Wire(protocol, meter)
    protocol.connection_made(wire)
    head = f"POST {path} HTTP/1.1\r\nHost: rig\r\nContent-Length: {len(body)}\r\n\r\n"
    protocol.data_received(head.encode() + body)
    return wire
