"""Nothing in Redis grows without bound: what is left when requests, executors and their streams have gone."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from redis import asyncio as redis

from shared import keys, redis_bus
from shared.bus import Moved, Settled, StreamId
from shared.messages import EngineStatus, Finished, Outcome, Started, Tokens
from shared.redis_bus import RedisBus
from shared.redis_owner import MOST_DEAD
from shared.types import FinishReason
from tests.bus.cases import a_request, an_executor, given_out

RETENTION_S = 0.5
REQUESTS, BATCH = 2000, 100


@pytest.fixture
async def server(redis_url: str) -> redis.Redis:
    """Redis as an operator sees it, without the bus, and nothing in it."""
    client = redis.Redis.from_url(redis_url, protocol=2)
    async with asyncio.timeout(10):
        while True:  # the server is up once it answers
            with suppress(redis.ConnectionError):
                await client.flushdb()
                break
            await asyncio.sleep(0.01)
    return client


async def _lives(bus: RedisBus, first: int) -> None:
    """An executor that runs BATCH requests to their end, and is buried."""
    executor = await an_executor(bus)
    await bus.announce_engine(EngineStatus(name=str(executor), state="ready"), 300)
    version = await bus.claim(0, "me")
    for index in range(first, first + BATCH):
        await bus.submit(f"p{index}", [a_request(f"p{index}")])
    taken = await bus.take(executor, BATCH, 1.0)
    assert len(taken) == BATCH
    for step, delivery in enumerate(taken, start=1):
        id = delivery.request.id
        records = Started(str(delivery.entry.id), delivery.request), Tokens(id, 0, 0, (7,) * 20)
        await bus.append(executor, 0, step, [*records, Finished(id, 0, 20, FinishReason.LENGTH)])
    outcomes = [Outcome(replace(one.request, output=(7,) * 20), FinishReason.LENGTH, "text") for one in taken]
    await bus.settle(0, version, [Settled(one.entry, end) for one, end in zip(taken, outcomes, strict=True)])
    await bus.trim(0, {str(executor): StreamId(executor.boot, BATCH)})
    await bus.leave(executor, 1)
    await bus.bury(str(executor), 0, 1)


async def _at_rest(server: redis.Redis) -> tuple[int, int]:
    """Keys and bytes, once what expires has expired."""
    async with asyncio.timeout(30):
        expiring = ("*:done:*", "*:submitted:*", "*:engine:*")
        while any([await server.keys(name) for name in expiring]) or await server.dbsize() > len(await server.keys()):
            await asyncio.sleep(0.05)
    return await server.dbsize(), int((await server.info("memory"))["used_memory"])


async def test_two_thousand_requests_leave_no_key_and_no_memory_behind(redis_url: str, server: redis.Redis) -> None:
    async with redis_bus.connect(redis_url, "bounds", RETENTION_S) as bus:
        await _lives(bus, 0)
        keys_before, bytes_before = await _at_rest(server)
        for first in range(BATCH, REQUESTS, BATCH):
            await _lives(bus, first)
        keys_after, bytes_after = await _at_rest(server)
        assert keys_after == keys_before
        assert bytes_after - bytes_before < 200_000  # the control stream: twenty births
        for lane in ("interactive", "batch"):
            assert await server.xlen(keys.requests("bounds", lane)) == 0
            assert await server.xinfo_consumers(keys.requests("bounds", lane), keys.GROUP) == []
        await server.aclose()


async def test_a_consumer_goes_only_when_nothing_is_pending_there(redis_url: str, server: redis.Redis) -> None:
    """Redis drops with it what it holds: a zombie may have been given something behind its fence."""
    async with redis_bus.connect(redis_url, "consumers") as bus:
        executor = await an_executor(bus)
        delivery, version = await given_out(bus, executor)
        await bus.bury(str(executor), 0, 1)
        assert (await bus.snapshot(0)).pending == {delivery.entry: str(executor)}
        await bus.move(0, version, [Moved(delivery.entry, replace(delivery.request, attempt=1))])
        await bus.bury(str(executor), 0, 1)
        assert await server.xinfo_consumers(keys.requests("consumers", "interactive"), keys.GROUP) == []
        await server.aclose()


async def test_what_was_given_up_is_kept_for_people_and_only_the_newest(redis_url: str, server: redis.Redis) -> None:
    async with redis_bus.connect(redis_url, "dead") as bus:
        version = await bus.claim(0, "me")
        for index in range(MOST_DEAD + 5):
            request = a_request(f"p{index}")
            outcome = Outcome(replace(request, prompt=()), FinishReason.ERROR, "", "every engine died")
            version = await bus.settle(0, version, [Settled(None, outcome, request)])
        rows: list[Any] = await server.xrange(keys.dead("dead")) or []
        assert len(rows) == MOST_DEAD
        assert rows[-1][1][b"why"] == b"every engine died" and b"[1,2,3]" in rows[-1][1][b"data"]
        await server.aclose()


async def test_the_guard_of_a_submission_lasts_as_long_as_its_request_and_its_answer(
    redis_url: str, server: redis.Redis
) -> None:
    """A gateway that submits again after a restart of Redis adds nothing, however long its request has been running."""
    async with redis_bus.connect(redis_url, "guards", RETENTION_S) as bus:
        executor = await an_executor(bus)
        delivery, version = await given_out(bus, executor)
        guard = keys.submitted("guards", "p")
        assert await server.pttl(guard) > 3_600_000
        await bus.settle(0, version, [Settled(delivery.entry, Outcome(delivery.request, FinishReason.STOP, ""))])
        assert await server.pttl(guard) <= RETENTION_S * 1000
        await server.aclose()
