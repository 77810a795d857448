"""A client's own key for its request: whoever comes first runs, whoever comes later learns who that is (PROTOCOL 4)."""

import asyncio

from shared.bus import Bus, Holder
from tests.bus.cases import a_request, an_executor

KEEP_MS = 60_000
FIRST, SECOND = Holder("p", "digest"), Holder("q", "digest")


async def test_one_of_two_calls_under_a_key_is_queued(bus: Bus) -> None:
    """The second learns who has the key, and so does whoever only asks; repeating the first changes nothing."""
    executor = await an_executor(bus)
    assert await bus.holder("k") is None
    for holder in (FIRST, SECOND, FIRST):
        assert await bus.submit_as("k", holder, [a_request(holder.parent)], KEEP_MS) == FIRST
    assert await bus.holder("k") == FIRST
    assert [given.request.parent_id for given in await bus.take(executor, 10, 0.0)] == ["p"]


async def test_of_many_calls_at_once_one_is_queued(bus: Bus) -> None:
    """From any number of gateways."""
    executor = await an_executor(bus)
    calls = [Holder(f"p{i}", "digest") for i in range(8)]
    told = await asyncio.gather(*(bus.submit_as("k", call, [a_request(call.parent)], KEEP_MS) for call in calls))
    [taken] = await bus.take(executor, 10, 0.0)
    assert {holder.parent for holder in told} == {taken.request.parent_id}


async def test_a_call_that_failed_is_replaced_once(bus: Bus) -> None:
    """Only by who knows that it was that one which failed."""
    executor = await an_executor(bus)
    third = Holder("r", "digest")
    await bus.submit_as("k", FIRST, [a_request("p")], KEEP_MS)
    assert await bus.submit_as("k", SECOND, [a_request("q")], KEEP_MS, after="p") == SECOND
    assert await bus.submit_as("k", third, [a_request("r")], KEEP_MS, after="p") == SECOND
    assert [given.request.parent_id for given in await bus.take(executor, 10, 0.0)] == ["p", "q"]


async def test_a_key_is_forgotten_after_its_time(bus: Bus) -> None:
    """And is free again."""
    await bus.submit_as("k", FIRST, [a_request("p")], 1)
    async with asyncio.timeout(5):
        while await bus.holder("k") is not None:
            await asyncio.sleep(0.001)
    assert await bus.submit_as("k", SECOND, [a_request("q")], KEEP_MS) == SECOND


async def test_keys_do_not_touch_each_other(bus: Bus) -> None:
    assert await bus.submit_as("k", FIRST, [a_request("p")], KEEP_MS) == FIRST
    assert await bus.submit_as("l", SECOND, [a_request("q")], KEEP_MS) == SECOND
