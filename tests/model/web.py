"""HTTP between gateways and detokenizers in the model: the production ends of it, without sockets.

A connection is a task in the server's process and a queue in the client's. A dead server breaks it at once, a frozen
one lets it hang; what was written before is still read. Only what both ends really use is there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.model.loop import PROCESS, Process

DELAY_S = 0.5  # the longest of a message


class App:
    """Stands for `web.Application`: keeps who serves which path."""

    def __init__(self, **_: Any) -> None:
        self.handlers: dict[str, Any] = {}
        self.on_shutdown: list[Callable[[Any], Any]] = []
        self.router = self
        self.process = PROCESS.get()

    def add_get(self, path: str, handler: Any) -> None:
        self.handlers[path] = handler

    add_post = add_get


class Runner:
    def __init__(self, app: App) -> None:
        self._app = app

    async def cleanup(self) -> None:
        for callback in self._app.on_shutdown:
            await callback(self._app)


class Connection:
    """One `POST /frames`: what the server has written and the client has not read."""

    def __init__(self, client: Process) -> None:
        self.client = client
        self.chunks: asyncio.Queue[bytes | None] = asyncio.Queue()  # None: broken
        self.status: asyncio.Future[int] | None = None
        self.task: asyncio.Task[None] | None = None
        self.open = True
        self._due_s = 0.0

    # ---- the server's end
    async def write(self, data: bytes) -> None:
        if not self.open:
            raise ConnectionResetError
        net = self.client.world
        self._due_s = max(self._due_s, net.loop.time() + net.delay())  # nothing overtakes on a connection
        net.loop.call_at(self._due_s, self.chunks.put_nowait, data, context=self.client.context)

    def answer(self, status: int) -> None:
        net = self.client.world
        net.loop.call_later(net.delay(), self._answered, status, context=self.client.context)

    def _answered(self, status: int) -> None:
        assert self.status is not None
        if not self.status.done():
            self.status.set_result(status)

    # ---- the client's end, shaped like aiohttp's response
    def raise_for_status(self) -> None:
        assert self.status is not None
        if self.status.result() >= 400:
            raise aiohttp.ClientConnectionError(f"status {self.status.result()}")

    @property
    def content(self) -> "Connection":
        return self

    async def iter_any(self) -> AsyncIterator[bytes]:
        while (chunk := await self.chunks.get()) is not None:
            yield chunk
        raise aiohttp.ClientConnectionError("the connection is broken")

    def break_off(self) -> None:
        """Both ends hear of it."""
        if self.open:
            self.open = False
            self.client.world.loop.call_soon(self.chunks.put_nowait, None, context=self.client.context)
            net = self.client.world
            net.loop.call_later(2 * DELAY_S, self._answered, 503, context=self.client.context)
            if self.task is not None:
                self.task.cancel()


class Http:
    """Stands for the `aiohttp.ClientSession` of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @asynccontextmanager
    async def post(
        self,
        url: str,
        data: bytes,
        headers: Any,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's name
    ) -> AsyncIterator[Connection]:
        net = self._process.world
        base, _, path = url.rpartition("/")
        connection = Connection(self._process)
        connection.status = net.loop.create_future()
        net.connections.append((connection, base))
        try:
            async with asyncio.timeout(timeout.total):
                await asyncio.sleep(net.delay())
                app: App | None = net.sites.get(base)
                if app is None or not app.process.alive:
                    raise aiohttp.ClientConnectionError("nobody listens")
                request = Request(data, connection)
                connection.task = net.loop.start(app.process, _handle(app.handlers[f"/{path}"], request))
                await connection.status
            yield connection
        finally:
            net.connections.remove((connection, base))
            connection.open = False
            if connection.task is not None:
                connection.task.cancel()


class StreamResponse:
    """Stands for aiohttp's, on its way to the connection it answers."""

    def __init__(self, headers: Any = None) -> None:
        self._connection: Connection | None = None

    async def prepare(self, request: "Request") -> None:
        self._connection = request.connection
        self._connection.answer(200)

    async def write(self, data: bytes) -> None:
        assert self._connection is not None
        await self._connection.write(data)


class Request:
    """What a handler sees of a request."""

    def __init__(self, body: bytes, connection: Connection) -> None:
        self.headers: dict[str, str] = {}
        self.transport = None
        self.connection = connection
        self._body = body

    async def read(self) -> bytes:
        return self._body


async def _handle(handler: Any, request: Request) -> None:
    """One request, in the server's process."""
    try:
        response = await handler(request)
        if not isinstance(response, StreamResponse):
            request.connection.answer(response.status)
    finally:
        request.connection.task = None
        request.connection.break_off()
