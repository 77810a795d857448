"""Whatever lies on the bus that none of us wrote: it is passed over or laid aside, and the next good message counts.

The decoders themselves are searched for gaps in `tests/unit/security/test_messages.py`; here it goes through Redis,
with an owner at work, a gateway that reads statuses, and an engine that takes requests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from redis import asyncio as redis

from services.detokenizer.links import Links
from services.detokenizer.owner import Owner
from services.detokenizer.sessions import Sessions
from shared import codec, keys, redis_bus
from shared.bus import ZERO, Bus, BusDown, Retired, Settled
from shared.messages import EngineStatus, Finished, GatewayStatus, Outcome, ShardStatus, Started, Tokens
from shared.redis_bus import RedisBus
from shared.types import FinishReason
from tests.bus.cases import a_request, an_executor
from tests.unit.detokenizer.cases import VOCABULARY

GOOD = orjson.loads(codec.encode_request(a_request()))
GARBAGE: list[Any] = [
    {"data": b""},
    {"data": b"\xff\xfe"},
    {"data": b"["},
    {"data": b"null"},
    {"data": b"{}"},
    {"other": b"field"},
    {"data": b"[" * 100_000},
    {"data": b"x" * 1_000_000},
    {"data": codec.encode_request(a_request())[:-10]},
    *(
        {"data": orjson.dumps(GOOD | change)}
        for change in (
            {"version": 99},
            {"shard": "0"},
            {"shard": -1},
            {"index": 10**9},
            {"id": "another.0"},
            {"lane": "express"},
            {"prompt": [-1]},
            {"prompt": [2**40]},
            {"output": [1.5]},
            {"attempt": True},
            {"render": GOOD["render"] | {"choices": 10**9}},
            {"render": None},
            {"sampling": GOOD["sampling"] | {"max_tokens": "many"}},
            {"sampling": GOOD["sampling"] | {"colour": "blue"}},
            {"parent_id": None},
        )
    ),
]


@pytest.fixture
async def server(redis_url: str) -> AsyncIterator[redis.Redis]:
    async with redis.Redis.from_url(redis_url, protocol=2) as client:
        yield client


@pytest.fixture
async def model(request: pytest.FixtureRequest) -> str:
    return f"hostile {request.node.name}"


@pytest.fixture
async def real(redis_url: str, model: str) -> AsyncIterator[RedisBus]:
    async with redis_bus.connect(redis_url, model) as bus:
        await until_true(lambda: answers(bus))
        yield bus


async def answers(bus: Bus) -> bool:
    try:
        return await bus.now_ms() > 0
    except BusDown:
        return False


async def until_true(check: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not (await result if asyncio.iscoroutine(result := check()) else result):
            await asyncio.sleep(0.01)


async def test_requests_that_cannot_be_read_are_laid_aside_and_the_good_one_is_answered(
    real: RedisBus, server: redis.Redis, model: str
) -> None:
    """They end in the stream of the dead with their first bytes, out of the lanes and of everybody's pending list,
    while an owner and an engine go on."""
    executor = await an_executor(real)
    await real.announce_engine(EngineStatus(name=str(executor), state="ready"), 60_000)
    lane = keys.requests(model, "interactive")
    for fields in GARBAGE:
        await server.xadd(lane, fields)
    await real.submit("lost", [a_request("lost", shard=7)])
    await real.submit("p", [a_request()])
    taken = await real.take(executor, 100, 1.0)
    assert [one.request.parent_id for one in taken] == ["lost", "p"]
    sessions = Sessions(VOCABULARY)
    status = ShardStatus(shard=0, url="http://here", instance="owner")
    owner = Owner(real, sessions, Links(sessions.frame, 100), status, 1)
    good = taken[1]
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(owner.run())
        tokens = keys.tokens(model, str(executor), 0)
        for step, fields in enumerate(GARBAGE, 1):
            await server.xadd(tokens, fields, id=f"{executor.boot}-{step}")
            await server.xadd(keys.control(model), fields)
        await server.sadd(keys.executors(model), "nobody", b"\xff.1", "e.x", "." + "9" * 40)
        after = len(GARBAGE) + 1
        await real.append(executor, 0, after, [Started(str(good.entry.id), good.request), Tokens("p.0", 0, 0, (72,))])
        await real.append(executor, 0, after + 1, [Finished("p.0", 0, 1, FinishReason.STOP)])
        await until_true(lambda: settled(real, "p.0"))
        await until_true(lambda: empty(real))
        assert not running.done()
        running.cancel()
    dead: Any = await server.xrange(keys.dead(model))
    assert len(dead) == len(GARBAGE) + 1
    assert max(len(fields[b"raw"]) for _, fields in dead) <= 64 * 1024
    assert await real.held(executor) == []


async def settled(bus: Bus, id: str) -> bool:
    return await bus.outcome(id) is not None


async def empty(bus: Bus) -> bool:
    return await bus.backlog() == 0


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}", b'{"name": 5}', b'{"shard": "x"}', b"\xff", b"null"])
async def test_a_lease_that_cannot_be_read_is_none_and_hides_no_other(
    data: bytes, real: RedisBus, server: redis.Redis, model: str
) -> None:
    """A gateway goes on with the engines and owners that it understands."""
    status = EngineStatus(name="good.1", state="ready", max_model_len=8, vocab_size=9)
    await real.announce_engine(status, 60_000)
    await server.sadd(keys.executors(model), "bad.1", b"\xff")
    await server.set(keys.engine_lease("bad.1"), data, px=60_000)
    await server.set(keys.shard_lease(model, 0), data, px=60_000)
    await real.announce_shard(ShardStatus(shard=1, url="http://b", instance="b"), 60_000)
    await server.sadd(keys.gateways(model), "bad", b"\xff")
    await server.set(keys.gateway_lease(model, "bad"), data, px=60_000)
    await real.announce_gateway(GatewayStatus(name="good", url="http://g"), 60_000)
    assert await real.engines() == [status]
    assert [one.name for one in await real.gateways()] == ["good"]
    assert [one and one.shard for one in await real.shards(2)] == [None, 1]


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}", b'{"request": {}, "reason": "stop"}', b"\xff"])
async def test_an_outcome_or_a_checkpoint_that_cannot_be_read_is_none(
    data: bytes, real: RedisBus, server: redis.Redis, model: str
) -> None:
    await server.set(keys.done(model, "p.0"), data)
    await server.set(keys.session(model, "p.0"), data)
    await server.set(keys.idempotency(model, "key"), data)
    assert await real.outcome("p.0") is None
    assert await real.checkpoints(["p.0"]) == []
    assert (await real.holder("key")) is not None  # somebody's, with another digest than anybody's
    version = await real.claim(0, "me")
    await real.settle(0, version, [Settled(None, Outcome(a_request(), FinishReason.STOP, "text"))])
    assert await real.outcome("p.0") == Outcome(a_request(), FinishReason.STOP, "text")


@pytest.mark.parametrize("data", [b"", b"x", b"me:-1", b"me:x", b"\xff:1", b"me:" + b"9" * 5000])
async def test_a_version_that_nobody_of_ours_wrote_ends_the_owner_and_not_with_a_crash(
    data: bytes, real: RedisBus, server: redis.Redis, model: str
) -> None:
    version = await real.claim(0, "me")
    await server.set(keys.shard_version(model, 0), data)
    with pytest.raises(Retired):
        await real.settle(0, version, [])
    assert (await real.snapshot(0)).version != version
    assert await real.settle(0, await real.claim(0, "me"), [])


async def test_what_a_consumer_that_is_no_engine_took_is_known_to_be_pending(
    real: RedisBus, server: redis.Redis, model: str
) -> None:
    """Nobody can be fenced under such a name, so its entry moves on at once."""
    await an_executor(real)
    await real.submit("p", [a_request()])
    await server.xreadgroup(keys.GROUP, "nobody", {keys.requests(model, "interactive"): ">"})
    snapshot = await real.snapshot(0)
    [holder] = snapshot.pending.values()
    assert await real.fence(holder, 0) is None
    assert await real.read(0, {holder: ZERO}, await real.control_end(), 0.0) == ([], [])


async def test_a_request_of_a_shard_that_does_not_exist_is_nobodys_on_either_bus(bus: Bus) -> None:
    """Services that were started with different numbers of shards: the first shard's owner is told of it."""
    lost = replace(a_request("lost"), shard=5)
    version = await bus.claim(0, "me")
    await bus.submit("lost", [lost])
    snapshot = await bus.snapshot(0)
    [(entry, shard)] = snapshot.elsewhere.items()
    assert shard == 5 and not snapshot.entries
    after = await bus.discard(0, version, [entry])
    assert await bus.discard(0, version, [entry]) == after
    assert await bus.backlog() == 0
