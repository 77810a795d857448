"""A gateway's way from a detokenizer's event to its clients: link, mailboxes, streams and aiohttp's responses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
from aiohttp import web

from bench.rigs.wire import Meter, ask
from services.gateway.link import Link
from services.gateway.replies import Replies
from services.gateway.stream import Stream
from services.gateway.trace import TRACE, Trace
from shared.frames import Frame, encode_frames
from shared.messages import ShardStatus
from shared.telemetry.spans import Context

CAPACITY = 64  # frames a client may be behind
PATIENCE_S = 15.0
WARM = 4
CHUNK = (
    'data: {"id":"%s","object":"chat.completion.chunk","created":1700000000,"model":"rig","choices":'
    '[{"index":0,"delta":{"content":" mill"},"logprobs":null,"finish_reason":null}]}\n\n'
)


class Events:
    """A detokenizer's answers, in place of `aiohttp.ClientSession`: one that never ends, and 204 for all else."""

    def __init__(self) -> None:
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()

    def push(self, event: bytes) -> None:
        self._chunks.put_nowait(event)

    @asynccontextmanager
    async def post(self, url: str, **_: Any) -> AsyncIterator["Events"]:
        yield self

    def raise_for_status(self) -> None:
        """It is well."""

    @property
    def content(self) -> "Events":
        return self

    async def iter_any(self) -> AsyncIterator[bytes]:
        while True:
            yield await self._chunks.get()


class GatewayRig:
    def __init__(self, meter: Meter, events: Events, clients: int) -> None:
        self.meter = meter
        self._events = events
        self._parents = [f"chatcmpl-{number:032x}" for number in range(clients)]
        self._cursor = 0

    def event(self) -> bytes:
        """What a detokenizer writes next: a frame of one token for each client."""
        after, cursor = str(self._cursor or ""), str(self._cursor + 1)
        self._cursor += 1
        frames = [
            Frame(parent, cursor, f"id: {cursor}\n{CHUNK % parent}", after=after, reader="") for parent in self._parents
        ]
        return encode_frames(frames, 1_700_000_000_000.0)

    async def step(self, event: bytes) -> None:
        """It reaches every client."""
        meter = self.meter
        meter.again()
        self._events.push(event)
        await meter.news.until(lambda: meter.carried == len(self._parents))


@asynccontextmanager
async def gateway_rig(clients: int) -> AsyncIterator[GatewayRig]:
    """`clients` chats that stream."""
    meter, events, replies = Meter(), Events(), Replies(CAPACITY)
    link = Link(0, "gate", "", cast(aiohttp.ClientSession, events), replies)
    link.owned_by(ShardStatus(shard=0, url="http://rig", instance="rig"))

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        trace = Trace("POST", "/v1/chat/completions", Context.new(sampled=False), "")
        trace.streams, request[TRACE] = True, trace
        with replies.open(request.path.removeprefix("/")) as mailbox:
            await mailbox.announce()
            whole = cast(web.Request, request)
            return await Stream(whole, mailbox, ids=False, keep_alive_s=PATIENCE_S, stall_s=PATIENCE_S).relay()

    server = web.Server(serve, access_log=None, handler_cancellation=True)
    rig = GatewayRig(meter, events, clients)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(replies.run([link]), name="frames")
        wires = [ask(server, meter, f"/chatcmpl-{number:032x}") for number in range(clients)]
        while replies.statistics()["mailboxes"] != clients:  # noqa: ASYNC110 - a client that comes writes nothing
            await asyncio.sleep(0)
        for _ in range(WARM):
            await rig.step(rig.event())
        yield rig
        for wire in wires:
            wire.hang_up()
        following.cancel()
    await server.shutdown()
