"""The door for gateways: the token, the stream of events, catching up, and being cut."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from services.detokenizer import server
from services.detokenizer.links import Links
from services.detokenizer.server import FrameServer
from shared.frames import Attach, Frame, decode_frames, encode_attach

TOKEN = "secret"
SHOWN = {"Authorization": f"Bearer {TOKEN}"}


class Counter:
    """Any parent's text is the count so far; a cursor is a number."""

    def __init__(self) -> None:
        self.count = 0
        self.asked: list[str] = []
        self.padding = ""
        self.links = Links(self.render, 100)

    def render(self, parent: str, cursor: str) -> Frame | None:
        told = int(cursor or 0)
        if told == self.count:
            return None
        return Frame(parent, str(self.count), f"{told}..{self.count}{self.padding}", after=cursor)

    def ask(self, parents: Iterable[str]) -> None:
        self.asked += parents

    def add(self) -> None:
        self.count += 1
        self.links.touch(sorted(self.links.wanted()))


@asynccontextmanager
async def serving(counter: Counter, stall_s: float = 5.0) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app = web.Application()
    FrameServer(counter.links, TOKEN, counter.ask, stall_s).add_to(app)
    async with TestClient(TestServer(app)) as client:
        yield client


def body(gateway: str, **cursors: str) -> bytes:
    return encode_attach(Attach(gateway, cursors))


async def next_frames(response: ClientResponse) -> list[tuple[str, str]]:
    """Of the next event."""
    async with asyncio.timeout(5):
        while not (frames := decode_frames(await response.content.readline())):
            assert not response.content.at_eof()
    return [(frame.parent, frame.data) for frame in frames]


async def test_a_gateway_catches_up_and_follows() -> None:
    """One event with all that lies behind its cursors, then one for each batch of news; /attach adds to it."""
    counter = Counter()
    counter.count = 3
    async with serving(counter) as client, client.post("/frames", data=body("g", a="1", b=""), headers=SHOWN) as stream:
        assert stream.content_type == "text/event-stream"
        assert await next_frames(stream) == [("a", "1..3"), ("b", "0..3")]
        counter.add()
        assert await next_frames(stream) == [("a", "3..4"), ("b", "3..4")]
        async with client.post("/attach", data=body("g", c="2"), headers=SHOWN) as attached:
            assert attached.status == 204
        assert await next_frames(stream) == [("c", "2..4")]
        assert counter.asked == ["a", "b", "c"]


async def test_without_the_token_nothing_is_told() -> None:
    """Both routes; a wrong token is as good as none."""
    counter = Counter()
    async with serving(counter) as client:
        for path in ("/frames", "/attach"):
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer s\u00e9cret"}):
                async with client.post(path, data=body("g", a=""), headers=headers) as refused:
                    assert refused.status == 401
        assert counter.links.wanted() == frozenset()


@pytest.mark.parametrize("wrong", [b"", b"{", b"[]", b'{"gateway": 1, "cursors": {}}', b'{"gateway": "g"}'])
async def test_a_body_that_is_no_attach_message_is_refused(wrong: bytes) -> None:
    """With 400, and the connection of nobody is touched."""
    counter = Counter()
    async with serving(counter) as client:
        for path in ("/frames", "/attach"):
            async with client.post(path, data=wrong, headers=SHOWN) as refused:
                assert refused.status == 400
        async with client.post("/attach", data=body("g", a=""), headers=SHOWN) as unknown:
            assert unknown.status == 404


async def test_a_second_connection_of_a_gateway_ends_the_first() -> None:
    """A gateway has one connection: the newest."""
    counter = Counter()
    first, second = body("g", a=""), body("g", a="")
    async with (
        serving(counter) as client,
        client.post("/frames", data=first, headers=SHOWN) as old,
        client.post("/frames", data=second, headers=SHOWN) as new,
    ):
        async with asyncio.timeout(5):
            assert await old.content.read() == b""
        counter.add()
        assert await next_frames(new) == [("a", "0..1")]


async def test_a_gateway_that_goes_leaves_nothing_behind() -> None:
    """Its parents are read by nobody any more."""
    counter = Counter()
    async with serving(counter) as client:
        async with client.post("/frames", data=body("g", a=""), headers=SHOWN):
            assert counter.links.wanted() == {"a"}
        async with asyncio.timeout(5):
            while counter.links.wanted():
                await asyncio.sleep(0)


async def test_a_gateway_that_takes_nothing_is_cut() -> None:
    """Its connection is broken after the set time, however much there is to write."""
    counter = Counter()
    counter.padding = "x" * 32_000_000  # more than the buffers between the two hold
    async with (
        serving(counter, stall_s=0.05) as client,
        client.post("/frames", data=body("g", a=""), headers=SHOWN),
        asyncio.timeout(5),
    ):
        counter.add()
        while counter.links.wanted():
            await asyncio.sleep(0)


async def test_silence_is_broken_by_a_comment(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that both sides notice a dead connection; it holds no frames."""
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 0.01)
    async with serving(Counter()) as client, client.post("/frames", data=body("g"), headers=SHOWN) as stream:
        line = await stream.content.readline()
        assert line.startswith(b":")
        assert decode_frames(line) == []


async def test_a_server_that_ends_closes_its_connections() -> None:
    """At once, so that a stop takes no time and gateways look for the next owner."""
    counter = Counter()
    async with serving(counter) as client, client.post("/frames", data=body("g", a=""), headers=SHOWN) as stream:
        assert client.server.runner is not None
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            tasks.create_task(client.server.runner.cleanup())
            assert await stream.content.read() == b""
