"""The bounded queue between two tasks."""

import asyncio

import pytest

from shared.channel import Channel, Closed, Empty, Full


async def settled() -> None:
    """Let every task run until all of them wait."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_items_come_out_in_the_order_they_went_in() -> None:
    channel = Channel[int](3)
    for i in range(3):
        channel.send_nowait(i)
    channel.close()
    assert [i async for i in channel] == [0, 1, 2]


async def test_a_full_channel_makes_the_writer_wait() -> None:
    channel = Channel[int](1)
    channel.send_nowait(1)
    with pytest.raises(Full):
        channel.send_nowait(2)
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(channel.send(2))
        await settled()
        assert not writing.done()
        assert await channel.receive() == 1
        await settled()
        assert writing.done()
    assert channel.drain() == [2]


async def test_draining_wakes_every_waiting_writer() -> None:
    channel = Channel[int](2)
    async with asyncio.TaskGroup() as tasks:
        writers = [tasks.create_task(channel.send(i)) for i in range(4)]
        await settled()
        assert channel.drain() == [0, 1]
        await settled()
        assert all(w.done() for w in writers)
    assert channel.drain() == [2, 3]


async def test_closing_ends_readers_and_refuses_writers() -> None:
    channel = Channel[int](1)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(_collect(channel))
        await settled()
        channel.close()
    assert reading.result() == []
    assert channel.finished
    with pytest.raises(Closed):
        channel.send_nowait(1)
    with pytest.raises(Closed):
        channel.receive_nowait()


async def test_a_writer_that_waits_learns_of_the_end() -> None:
    channel = Channel[int](1)
    channel.send_nowait(1)
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(_attempt(channel, 2))
        await settled()
        channel.close()
    assert writing.result() == "closed"
    assert not channel.finished and channel.receive_nowait() == 1 and channel.finished


async def test_a_reader_that_is_cancelled_after_its_wake_up_hands_it_on() -> None:
    """Two readers wait, one item comes, the woken reader is cancelled: the other one gets the item."""
    channel = Channel[int](1)
    async with asyncio.TaskGroup() as tasks:
        first, second = tasks.create_task(channel.receive()), tasks.create_task(channel.receive())
        await settled()
        channel.send_nowait(7)
        first.cancel()
    assert second.result() == 7


def test_an_empty_channel_and_a_senseless_bound() -> None:
    with pytest.raises(Empty):
        Channel[int](1).receive_nowait()
    with pytest.raises(ValueError, match="capacity"):
        Channel[int](0)


async def _collect(channel: Channel[int]) -> list[int]:
    return [i async for i in channel]


async def _attempt(channel: Channel[int], item: int) -> str:
    try:
        await channel.send(item)
    except Closed:
        return "closed"
    return "sent"
