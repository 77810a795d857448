"""What services may rely on, whichever bus they are given (shared/bus.py, PROTOCOL 1-5, 12, 13)."""

import asyncio

import pytest

from shared.bus import ZERO, Bus, Fenced, Settled, StreamId
from shared.messages import (
    Born,
    Cancel,
    EngineStatus,
    Finished,
    GatewayStatus,
    Outcome,
    Record,
    ShardStatus,
    Started,
    Tokens,
)
from shared.redis_link import MAX_CONNECTIONS
from shared.types import FinishReason
from tests.bus.cases import a_request, an_executor


async def test_what_was_submitted_is_taken_once_and_whole(bus: Bus) -> None:
    """Every field survives the bus, and no second executor gets the same entry."""
    one, two = await an_executor(bus, "one"), await an_executor(bus, "two")
    request = a_request()
    await bus.submit("p", [request])
    [delivery] = await bus.take(one, 10, 1.0)
    assert delivery.request == request
    assert await bus.take(two, 10, 0.0) == []


async def test_submitting_again_adds_nothing(bus: Bus) -> None:
    """A gateway that did not hear the reply may repeat itself."""
    executor = await an_executor(bus)
    assert await bus.submit("p", [a_request("p", 0), a_request("p", 1)])
    assert not await bus.submit("p", [a_request("p", 0), a_request("p", 1)])
    assert len(await bus.take(executor, 10, 1.0)) == 2


async def test_requests_submitted_before_any_engine_lived_are_not_lost(bus: Bus) -> None:
    await bus.submit("early", [a_request("early")])
    executor = await an_executor(bus)
    assert [d.request.parent_id for d in await bus.take(executor, 10, 1.0)] == ["early"]


async def test_interactive_requests_come_before_batch_and_never_more_than_asked(bus: Bus) -> None:
    executor = await an_executor(bus)
    await bus.submit("b", [a_request("b", lane="batch")])
    for i in range(3):
        await bus.submit(f"i{i}", [a_request(f"i{i}")])
    first = await bus.take(executor, 2, 1.0)
    assert [d.request.parent_id for d in first] == ["i0", "i1"]
    rest = await bus.take(executor, 5, 1.0)
    assert [d.request.parent_id for d in rest] == ["i2", "b"]


async def test_take_waits_for_the_first_request(bus: Bus) -> None:
    executor = await an_executor(bus)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(bus.take(executor, 4, 2.0))
        await asyncio.sleep(0)
        await bus.submit("p", [a_request()])
    assert len(waiting.result()) == 1


async def test_held_tells_what_was_given_and_not_settled(bus: Bus) -> None:
    """A delivery whose reply was lost is found again in the executor's pending list."""
    executor = await an_executor(bus)
    await bus.submit("p", [a_request("p", 0), a_request("p", 1)])
    taken = await bus.take(executor, 10, 1.0)
    assert await bus.held(executor) == taken
    version = await bus.claim(0, "me")
    outcome = Outcome(taken[0].request, FinishReason.STOP, "text")
    await bus.settle(0, version, [Settled(taken[0].entry, outcome)])
    assert await bus.held(executor) == taken[1:]


async def test_boots_only_go_forward(bus: Bus) -> None:
    first, second = await bus.next_boot("e"), await bus.next_boot("e")
    assert second.boot > first.boot


async def test_steps_are_read_in_order_and_whole(bus: Bus) -> None:
    executor = await an_executor(bus)
    records: list[Record] = [
        Started("5-0", a_request()),
        Tokens("p.0", 0, 0, (7, 8)),
        Finished("p.0", 0, 2, FinishReason.ERROR, "why"),
    ]
    await bus.append(executor, 0, 1, records)
    await bus.append(executor, 0, 2, [Tokens("p.0", 0, 2, (9,))])
    steps, _ = await bus.read(0, {str(executor): ZERO}, await bus.control_end(), 1.0)
    assert [list(s.records) for s in steps if s.records] == [records, [Tokens("p.0", 0, 2, (9,))]]
    steps, _ = await bus.read(0, {str(executor): steps[-2].id}, await bus.control_end(), 1.0)
    assert [s.id for s in steps] == [StreamId(executor.boot, 2)]


async def test_a_repeated_step_counts_once(bus: Bus) -> None:
    """After an unclear reply the engine writes the same id again; that is success and adds nothing."""
    executor = await an_executor(bus)
    for _ in range(2):
        await bus.append(executor, 0, 1, [Tokens("p.0", 0, 0, (7,))])
    steps, _ = await bus.read(0, {str(executor): StreamId(executor.boot, 0)}, await bus.control_end(), 1.0)
    assert len(steps) == 1


async def test_another_step_under_the_same_id_is_a_fence(bus: Bus) -> None:
    executor = await an_executor(bus)
    await bus.append(executor, 0, 1, [Tokens("p.0", 0, 0, (7,))])
    with pytest.raises(Fenced):
        await bus.append(executor, 0, 1, [Tokens("p.0", 0, 0, (8,))])


async def test_an_older_boot_cannot_write_below_what_is_there(bus: Bus) -> None:
    executor = await an_executor(bus)
    await bus.append(executor, 0, 5, [])
    with pytest.raises(Fenced):
        await bus.append(executor, 0, 4, [Tokens("p.0", 0, 0, (7,))])


async def test_an_executor_without_a_stream_is_fenced(bus: Bus) -> None:
    """XADD says NOMKSTREAM: a stream that was deleted never comes back by its old writer."""
    executor = await bus.next_boot("never born")
    with pytest.raises(Fenced):
        await bus.append(executor, 0, 1, [])


async def test_shards_have_streams_of_their_own(bus: Bus) -> None:
    executor = await an_executor(bus, shards=2)
    await bus.append(executor, 1, 1, [Tokens("p.0", 0, 0, (7,))])
    begin, end = {str(executor): StreamId(executor.boot, 0)}, await bus.control_end()
    assert (await bus.read(0, begin, end, 0.0))[0] == []
    assert len((await bus.read(1, begin, end, 0.0))[0]) == 1


async def test_births_and_cancels_reach_everyone_who_listens(bus: Bus) -> None:
    start = await bus.control_end()
    executor = await an_executor(bus)
    await bus.cancel("p", "disconnect")
    heard = [message for _, message in await bus.control(start, 1.0)]
    assert heard == [Born(str(executor)), Cancel("p", "disconnect")]
    _, messages = await bus.read(0, {}, start, 1.0)
    assert [m for _, m in messages] == heard


async def test_a_read_ends_with_the_first_news(bus: Bus) -> None:
    executor = await an_executor(bus)
    start = await bus.control_end()
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(bus.read(0, {str(executor): StreamId(executor.boot, 0)}, start, 2.0))
        await asyncio.sleep(0)
        await bus.append(executor, 0, 1, [Tokens("p.0", 0, 0, (7,))])
    assert len(reading.result()[0]) == 1


async def test_leases_show_who_lives_and_run_out(bus: Bus) -> None:
    status = EngineStatus(name="e.1", state="loading", message="half", progress=0.5)
    await bus.announce_engine(status, 60_000)
    await bus.announce_engine(EngineStatus(name="e.2", state="ready"), 1)
    await bus.announce_shard(ShardStatus(shard=1, url="http://x", instance="n"), 60_000)
    assert (await bus.shards(2)) == [None, ShardStatus(shard=1, url="http://x", instance="n")]
    async with asyncio.timeout(5):
        while len(await bus.engines()) > 1:
            await asyncio.sleep(0.001)
    assert await bus.engines() == [status]


async def test_gateways_that_live_are_found_and_the_dead_are_forgotten(bus: Bus) -> None:
    """Each process has a name of its own, so a name whose lease has run out never comes back."""
    assert await bus.gateways() == []
    living = [GatewayStatus(name=f"gateway-{n}", url=f"http://x:{n}") for n in range(2)]
    await bus.announce_gateway(GatewayStatus(name="gateway-dead", url="http://y"), 1)
    for status in reversed(living):
        await bus.announce_gateway(status, 60_000)
    async with asyncio.timeout(5):
        while len(await bus.gateways()) > 2:
            await asyncio.sleep(0.001)
    assert await bus.gateways() == living
    moved = GatewayStatus(name="gateway-1", url="http://z")
    await bus.announce_gateway(moved, 60_000)
    assert await bus.gateways() == [living[0], moved]


async def test_more_callers_than_connections_wait_for_their_turn(bus: Bus) -> None:
    """A burst is no outage: whoever finds all connections in use waits for one, and everything gets through."""
    executor, many = await an_executor(bus), 3 * MAX_CONNECTIONS
    await asyncio.gather(*(bus.submit(f"p{i}", [a_request(f"p{i}")]) for i in range(many)))
    assert len(await bus.take(executor, many, 1.0)) == many
