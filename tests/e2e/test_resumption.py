"""Streams under their own address: cut, left, followed by several and ended from outside, with two gateways at work."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.e2e.reading import Reading, session, story
from tests.e2e.stack import Stack
from tests.e2e.test_client import idle

ALL = 1 << 30  # bytes


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two gateways behind one port; who connects meets either."""
    with Stack(tmp_path_factory.mktemp("run"), "--gateways", "2") as running:
        yield running


@pytest.fixture
async def http(pair: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    async with session(pair.url) as client:
        yield client


async def uncut(http: aiohttp.ClientSession, seed: int, tokens: int) -> str:
    async with http.post("/v1/completions", json=story(seed, tokens, stream=False)) as response:
        body = await response.json()
        assert response.status == 200, body
    return str(body["choices"][0]["text"])


async def at_rest(stack: Stack) -> None:
    async with asyncio.timeout(20):
        while not idle(await asyncio.to_thread(stack.metrics, "engine-0")):
            await asyncio.sleep(0.02)


async def test_a_client_cut_a_hundred_times_reads_the_text_of_an_uncut_one(http: aiohttp.ClientSession) -> None:
    """At random bytes, in the middle of events and of characters, while it is generated and afterwards, and resumed at
    whichever gateway answers."""
    dice, cuts, seed = random.Random(4), 0, 0
    while cuts < 100:
        seed += 1
        reading = Reading()
        await reading.begin(http, story(seed, 1000), dice.randrange(1, 3000), **{"X-On-Disconnect": "continue"})
        while not reading.done:
            await reading.go_on(http, dice.randrange(1, 3000) if reading.cuts < 60 else ALL)
        assert reading.text == await uncut(http, seed, 1000)
        assert reading.reasons == ["length"]
        cuts += reading.cuts
    assert seed <= 10


async def test_several_clients_follow_one_stream(http: aiohttp.ClientSession) -> None:
    """From where each of them stands, together with the one whose request it is."""
    first = Reading()
    await first.begin(http, story(50, 600), 4000, **{"X-On-Disconnect": "continue"})
    others = [Reading(id=first.id, cursor=first.cursor, text=first.text) for _ in range(3)]
    fresh = [Reading(id=first.id) for _ in range(3)]
    await asyncio.gather(*(one.go_on(http, ALL) for one in [first, *others, *fresh]))
    assert {one.text for one in [first, *others, *fresh]} == {await uncut(http, 50, 600)}
    assert all(one.reasons == ["length"] and one.done for one in [first, *others, *fresh])


async def test_what_goes_on_without_a_reader_can_be_read_when_it_has_ended(
    pair: Stack, http: aiohttp.ClientSession
) -> None:
    reading = Reading()
    await reading.begin(http, story(51, 400), 3000, **{"X-On-Disconnect": "continue"})
    await at_rest(pair)
    await reading.go_on(http, ALL)
    assert (reading.text, reading.reasons) == (await uncut(http, 51, 400), ["length"])


async def all_gateways_die(pair: Stack, reading: Reading) -> None:
    """In the middle of what is read, and others take their place."""
    async with asyncio.timeout(20):
        while not reading.begun:
            await asyncio.sleep(0.01)
    for gateway in pair.all_of("gateway"):
        gateway.kill()
    await pair.serving()


@pytest.mark.parametrize("dies", [False, True], ids=["client leaves", "gateway dies"])
async def test_a_detached_request_ends_when_nobody_comes_back(
    pair: Stack, http: aiohttp.ClientSession, dies: bool
) -> None:
    """The shard's owner sees to it, so it does not matter who died; who reads it later sees where it was ended."""
    reading, detach = Reading(), {"X-On-Disconnect": "detach=1"}
    if dies:
        await asyncio.gather(reading.begin(http, story(52, 1900), ALL, **detach), all_gateways_die(pair, reading))
    else:
        await reading.begin(http, story(52, 1900), 3000, **detach)
    assert reading.cuts == 1
    await at_rest(pair)
    await reading.go_on(http, ALL)
    assert reading.done and reading.reasons == ["stop"]
    whole = await uncut(http, 52, 1900)
    assert whole.startswith(reading.text) and len(reading.text) < len(whole)


async def test_a_stream_goes_on_and_is_cancelled_when_its_gateways_have_died(
    pair: Stack, http: aiohttp.ClientSession
) -> None:
    """Whoever knows its id reads on behind what it has and ends it, twice if it likes; the end is one of OpenAI's."""
    reading = Reading()
    await asyncio.gather(reading.begin(http, story(53, 1900), ALL), all_gateways_die(pair, reading))
    assert reading.cuts == 1

    async def cancel() -> None:
        for _ in range(2):
            async with http.post(f"/v1/streams/{reading.id}/cancel") as response:
                assert response.status == 204

    await asyncio.gather(reading.go_on(http, ALL), cancel())
    assert reading.done and reading.reasons == ["stop"] and reading.text
    assert (await uncut(http, 53, 1900)).startswith(reading.text)
    await at_rest(pair)


async def test_what_is_no_stream_of_ours_says_so(http: aiohttp.ClientSession) -> None:
    """404 for what cannot have been, 410 for what was there once, 400 for a place that the stream does not have."""
    reading = Reading()
    await reading.begin(http, story(54, 20), ALL)
    young = reading.id[: -len("0" * 24)] + "0" * 24
    old = f"cmpl-{1_700_000_000:08x}" + "0" * 24
    for path, status, param in [
        (young, 404, "id"),
        (old, 410, "id"),
        ("nonsense", 404, "id"),
        (f"{reading.id}?starting_after=7,7", 400, "Last-Event-ID"),
        (f"{reading.id}?starting_after=99", 400, "Last-Event-ID"),
    ]:
        async with http.get(f"/v1/streams/{path}") as response:
            assert (response.status, (await response.json())["error"]["param"]) == (status, param), path
