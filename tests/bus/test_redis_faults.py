"""What Redis may do to us, and what others may write to it, without harm: the Redis bus alone."""

import pytest
from redis import asyncio as redis

from shared import keys, redis_bus
from shared.bus import ZERO, BusDown
from shared.messages import Cancel, EngineStatus
from tests.bus.cases import a_request, an_executor

MODEL = "faults"


@pytest.fixture
async def server(redis_url: str) -> redis.Redis:
    """Redis as an operator sees it, without the bus."""
    return redis.Redis.from_url(redis_url, protocol=2)


async def test_a_redis_that_is_full_is_an_outage_and_no_error(redis_url: str, server: redis.Redis) -> None:
    """Services wait until it takes something again, alone or in a transaction, instead of ending."""
    async with redis_bus.connect(redis_url, MODEL) as bus:
        version = await bus.claim(0, "me")
        await server.config_set("maxmemory", "1")
        try:
            for verb in (bus.cancel("p", "gone"), bus.settle(0, version, []), bus.submit("full", [a_request("full")])):
                with pytest.raises(BusDown):
                    await verb
        finally:
            await server.config_set("maxmemory", "0")
            await server.aclose()
        assert await bus.submit("full", [a_request("full")])


@pytest.mark.parametrize("data", [b"{}", b"no JSON", b'{"s": 3, "sampling": 3}', b"[]"])
async def test_what_cannot_be_read_harms_nothing_else(data: bytes, redis_url: str, server: redis.Redis) -> None:
    """Neither engines nor owners stumble over it, and their cursors go past it."""
    async with redis_bus.connect(redis_url, f"{MODEL} {data!r}") as bus:
        model = f"{MODEL} {data!r}"
        executor = await an_executor(bus)
        await server.xadd(keys.requests(model, "interactive"), {"data": data})
        await bus.submit("p", [a_request()])
        await server.xadd(keys.tokens(model, str(executor), 0), {"other": data}, id=f"{executor.boot}-1")
        await server.xadd(keys.tokens(model, str(executor), 0), {"data": data}, id=f"{executor.boot}-2")
        after = await bus.control_end()
        await server.xadd(keys.control(model), {"data": data})
        await server.aclose()
        assert [d.request.id for d in await bus.take(executor, 5, 0.0)] == ["p.0"]
        assert [r.id for r in (await bus.snapshot(0)).entries.values()] == ["p.0"]
        steps, messages = await bus.read(0, {str(executor): ZERO}, after, 0.0)
        assert [step.records for step in steps] == [(), (), ()]
        assert [message for _, message in messages] == [Cancel("")]
        assert await bus.control_end() == messages[-1][0]


async def test_a_snapshot_knows_the_lease_of_whoever_holds_something(redis_url: str) -> None:
    """An engine that has a lease is never taken for dead, even where its name is not among the executors."""
    async with redis_bus.connect(redis_url, "leases") as bus:
        executor = await an_executor(bus)
        await bus.submit("p", [a_request()])
        await bus.take(executor, 1, 0.0)
        await bus.announce_engine(EngineStatus(name=str(executor), state="ready"), 60_000)
        await bus.bury(str(executor), 0, 1)
        snapshot = await bus.snapshot(0)
        assert str(executor) not in snapshot.executors
        assert set(snapshot.pending.values()) == snapshot.leases == {str(executor)}
