"""A client that does not read for a while gets fewer and larger events, and nobody else notices."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.e2e.reading import EVENT, Reading, story
from tests.e2e.stack import Stack

CHOICES, TOKENS, BESIDE = 8, 1000, 300
SIZE = socket.SOL_SOCKET, socket.SO_RCVBUF
ENGINE = "--sim-tokens-per-second 2500"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """So fast that the machine has time for both clients."""
    with Stack(tmp_path_factory.mktemp("run"), "--device", "sim", "--engine-args", ENGINE) as running:
        yield running


def narrow(address: tuple[Any, ...]) -> socket.socket:
    """A connection that holds little of what its client does not read."""
    made = socket.socket(address[0], socket.SOCK_STREAM)
    made.setsockopt(*SIZE, 4096)
    return made


@pytest.fixture
async def slow(simulated: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(socket_factory=narrow)
    async with aiohttp.ClientSession(simulated.url, connector=connector, read_bufsize=1024) as client:
        yield client


async def read_whole(http: aiohttp.ClientSession, body: dict[str, Any]) -> tuple[str, int]:
    """The text, and how many events brought some of it."""
    async with http.post("/v1/completions", json=body, headers={"Accept": "text/event-stream"}) as response:
        data = await response.read()
    reading = Reading()
    reading.take(data)
    assert reading.done
    return reading.text, sum(b'"text":""' not in event for _, event in EVENT.findall(data))


async def test_who_does_not_read_gets_merged_deltas_and_harms_nobody(
    simulated: Stack, slow: aiohttp.ClientSession
) -> None:
    """Eight choices with logprobs, megabytes in all; beside them somebody reads each token in an event of its own."""
    asked = story(1, TOKENS, n=CHOICES, logprobs=20)
    gateway = simulated.process("gateway")
    async with aiohttp.ClientSession(simulated.url) as quick:
        await read_whole(quick, story(3, 50))
        before = gateway.memory_info().rss
        async with slow.post("/v1/completions", json=asked, headers={"Accept": "text/event-stream"}) as response:
            data = await response.content.readuntil(b"\n\n")
            text, events = await read_whole(quick, story(2, BESIDE))
            async with asyncio.timeout(20):
                while (await asyncio.to_thread(simulated.metrics, "engine-0"))["sluice_engine_ledger_held"]:
                    await asyncio.sleep(0.05)
            assert not response.content.at_eof()
            grown = gateway.memory_info().rss - before
            assert response.connection and response.connection.transport
            response.connection.transport.get_extra_info("socket").setsockopt(*SIZE, 4 << 20)  # now it is quick
            data += await response.read()
        whole, _ = await read_whole(quick, asked | {"logprobs": None})
    assert text and events >= 0.9 * BESIDE
    assert grown < 32 << 20
    reading = Reading()
    reading.take(data)
    assert reading.done and reading.reasons == ["length"] * CHOICES
    assert sorted(reading.text) == sorted(whole)
    assert len(EVENT.findall(data)) < 0.6 * CHOICES * TOKENS
    choices = [choice for _, event in EVENT.findall(data)[:-1] for choice in json.loads(event)["choices"]]
    assert sum(len(choice["logprobs"]["tokens"]) for choice in choices if choice["logprobs"]) == CHOICES * TOKENS
