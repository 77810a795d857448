"""A world for one gateway: a bus in memory, a detokenizer that says what a test tells it, and a real HTTP server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiohttp import ClientResponse, web

from services.gateway import protocol
from services.gateway.app import build_app
from services.gateway.compose import opened
from services.gateway.config import GatewayConfig
from services.gateway.deps import Deps
from shared import ops
from shared.bus import ZERO
from shared.frames import Attach, Frame, decode_attach, encode_frames
from shared.memory_bus import MemoryBus
from shared.messages import Cancel, EngineStatus, GenerateRequest, ShardStatus
from shared.types import ParentId

T = TypeVar("T")
LONG_MS = 600_000
CONTEXT, VOCABULARY = 64, 300
MODEL = "tiny"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a state that is reached without a sign."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def start(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """A client that waits while the test plays the other side; the test awaits it in the end."""
    return asyncio.get_running_loop().create_task(work)


class FakeDetokenizer:
    """The two routes of a detokenizer; `connects` and `attaches` keep what gateways asked for on each, `left` who has
    gone."""

    def __init__(self) -> None:
        self.connects: list[Attach] = []
        self.attaches: list[Attach] = []
        self.left: list[str] = []
        self.tokens: list[str | None] = []
        self.status = 200
        self.url = ""
        self._open: list[tuple[web.StreamResponse, asyncio.Event]] = []
        self._runner: web.AppRunner | None = None

    @property
    def connected(self) -> int:
        return len(self._open)

    async def __aenter__(self) -> "FakeDetokenizer":
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/frames", self._frames)
        app.router.add_post("/attach", self._attach)
        self._runner, port = await ops.serve(app, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        assert self._runner
        await self._runner.cleanup()

    async def push(self, *frames: Frame) -> None:
        """One event, on the newest connection."""
        await self.push_bytes(encode_frames(list(frames)))

    async def push_bytes(self, data: bytes) -> None:
        await self._open[-1][0].write(data)

    def cut(self) -> None:
        """Break every connection, as a process that dies does."""
        for _, done in self._open:
            done.set()
        self._open.clear()

    async def _frames(self, request: web.Request) -> web.StreamResponse:
        if self.status != 200:
            return web.Response(status=self.status)
        attach = decode_attach(await request.read())
        self.tokens.append(request.headers.get("Authorization"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        done = asyncio.Event()
        self._open.append((response, done))
        self.connects.append(attach)
        try:
            await done.wait()
        finally:
            self._open = [one for one in self._open if one[1] is not done]
        if request.transport is not None:
            request.transport.abort()
        return response

    async def _attach(self, request: web.Request) -> web.Response:
        attach = decode_attach(await request.read())
        if attach.cursors:
            self.attaches.append(Attach(attach.gateway, attach.cursors))
        self.left += attach.left
        return web.Response(status=204 if self.status == 200 else self.status)


@dataclass
class World:
    bus: MemoryBus
    deps: Deps
    detokenizer: FakeDetokenizer
    http: aiohttp.ClientSession
    url: str
    runner: web.AppRunner

    async def submitted(self, count: int = 1) -> list[GenerateRequest]:
        """The requests on the bus, once there are `count`, and the gateway knows that they are."""
        found: list[GenerateRequest] = []
        async with asyncio.timeout(10):
            while len(found) < count or not self._announced(found):
                snapshots = [await self.bus.snapshot(shard) for shard in range(self.deps.config.shards)]
                found = [request for snapshot in snapshots for request in snapshot.entries.values()]
                await asyncio.sleep(0.001)
        return sorted(found, key=lambda request: (request.arrived_ms, request.index))

    async def parent(self) -> ParentId:
        """Of the newest request."""
        return (await self.submitted())[-1].parent_id

    async def cancelled(self) -> list[tuple[str, str]]:
        """What was cancelled and why, so far."""
        heard = [message for _, message in await self.bus.control(ZERO, 0.0)]
        return [(message.id, message.reason) for message in heard if isinstance(message, Cancel)]

    async def chat(self, **fields: Any) -> aiohttp.ClientResponse:
        return await self.http.post("/v1/chat/completions", json=a_chat(**fields))

    async def own(self, shard: int, url: str, instance: str) -> None:
        await own(self.bus, shard, url, instance)

    def _announced(self, requests: list[GenerateRequest]) -> bool:
        cursors = [self.deps.replies.outstanding(shard) for shard in range(self.deps.config.shards)]
        return all(any(request.parent_id in known for known in cursors) for request in requests[-1:])


async def own(bus: MemoryBus, shard: int, url: str, instance: str) -> None:
    await bus.announce_shard(ShardStatus(shard=shard, url=url, instance=instance), LONG_MS)


def a_chat(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]} | fields


@asynccontextmanager
async def a_world(checkpoint: Path, *, ready: bool = True, **options: Any) -> AsyncIterator[World]:
    """A gateway that serves; with `ready=False` there is neither an engine nor an owner of the shard yet."""
    usual: dict[str, Any] = {"model": str(checkpoint), "served_model_name": MODEL, "internal_token": "secret"}
    config = GatewayConfig(**(usual | {"port": 0} | options))
    async with AsyncExitStack() as stack:
        bus, detokenizer = MemoryBus(), await stack.enter_async_context(FakeDetokenizer())
        if ready:
            status = EngineStatus(name="e.1", state="ready", max_model_len=CONTEXT, vocab_size=VOCABULARY)
            await bus.announce_engine(status, LONG_MS)
            for shard in range(config.shards):
                await own(bus, shard, detokenizer.url, "first")
        deps = await stack.enter_async_context(opened(config, bus))
        runner, port = await protocol.serve(build_app(deps), config)
        stack.push_async_callback(runner.cleanup)
        url = f"http://127.0.0.1:{port}"
        http = await stack.enter_async_context(aiohttp.ClientSession(url))
        if ready:
            await until(lambda: deps.readiness().ready)
        yield World(bus, deps, detokenizer, http, url, runner)


async def error_of(response: ClientResponse) -> dict[str, Any]:
    """The error, after a look at the form of its body."""
    assert response.content_type == "application/json"
    body = await response.json()
    assert list(body) == ["error"] and list(body["error"]) == ["message", "type", "param", "code"]
    error: dict[str, Any] = body["error"]
    return error
