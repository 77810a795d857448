"""What an outage, a rival or a gap may not change: the owner of a shard under faults."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import pytest

from services.detokenizer import owner
from shared.bus import ZERO, BusDown, Retired, Settled, Step, StreamId, Version
from shared.memory_bus import MemoryBus
from shared.messages import Control, Tokens
from shared.types import FinishReason
from tests.unit.detokenizer.cases import deltas, finished, ids, request, tokens
from tests.unit.detokenizer.world import SHARD, TEXT, Detokenizer, Engine, answered, entries, shown, until


async def test_an_outage_of_the_bus_loses_nothing() -> None:
    """While it is down the detokenizer is not ready; afterwards everything goes on."""
    bus, one = MemoryBus(), request()
    engine = await Engine.born(bus)
    await bus.submit("p", [one])
    async with Detokenizer(bus).running() as detokenizer:
        gateway = detokenizer.connect()
        await engine.write(*await engine.take(), tokens(one, 0, ids("Hi")))
        await until(lambda: bool(gateway.read()))
        bus.down = True
        detokenizer.owner.look()
        await until(lambda: not detokenizer.owner.ready)
        bus.down = False
        await engine.write(finished(one, len(ids("Hi")), FinishReason.LENGTH))
        await until(gateway.has_all)
        await answered(bus)
        assert detokenizer.owner.ready


async def test_an_owner_retires_when_somebody_else_has_claimed_the_shard() -> None:
    """Two processes may believe that they own a shard; the older one sees that it does not, and ends."""
    bus = MemoryBus()
    detokenizer = Detokenizer(bus)
    with pytest.raises(ExceptionGroup) as ended:
        async with detokenizer.running():
            await bus.claim(SHARD, "another")
            detokenizer.owner.look()
            await asyncio.sleep(5)
    assert ended.group_contains(Retired)


async def test_an_owner_that_lost_its_shard_settles_nothing() -> None:
    """The transaction is guarded by the version: a zombie's outcome is not written."""
    bus, one = MemoryBus(), request()
    engine = await Engine.born(bus)
    await bus.submit("p", [one])
    with suppress(ExceptionGroup):
        async with Detokenizer(bus).running():
            await bus.claim(SHARD, "another")
            await engine.write(*await engine.take(), finished(one, 0, FinishReason.LENGTH))
            await asyncio.sleep(5)
    assert await bus.outcome("p.0") is None
    assert await entries(bus) == 1


class ForgetfulBus(MemoryBus):
    """Hides the first entry of the first read that brings the tokens of more than one."""

    hidden = 0

    async def read(
        self, shard: int, cursors: Mapping[str, StreamId], control: StreamId, wait_s: float
    ) -> tuple[list[Step], list[tuple[StreamId, Control]]]:
        steps, messages = await super().read(shard, cursors, control, wait_s)
        if not self.hidden and len(steps) > 1 and any(isinstance(record, Tokens) for record in steps[0].records):
            self.hidden += 1
            return steps[1:], messages
        return steps, messages


async def test_a_gap_makes_the_owner_read_the_stream_again() -> None:
    """A token that comes out of turn is found in turn, once its stream is read from the start."""
    bus, one = ForgetfulBus(), request()
    engine = await Engine.born(bus)
    await bus.submit("p", [one])
    async with Detokenizer(bus).running() as detokenizer:
        gateway = detokenizer.connect()
        await engine.write(*await engine.take())
        await until(lambda: detokenizer.sessions.statistics()["sessions"] == 1)
        for offset, token in enumerate(ids(TEXT)):  # not one await among these lets the owner read
            await engine.write(tokens(one, offset, [token]))
        await engine.write(finished(one, len(ids(TEXT)), FinishReason.LENGTH))
        await until(gateway.has_all)
    assert bus.hidden == 1
    assert deltas(shown(gateway.frames)) == {0: TEXT}


async def test_streams_keep_what_the_oldest_unsettled_request_needs() -> None:
    """Trimming stops at its `Started`, so that the next process can build it again."""
    bus, (old, new) = MemoryBus(), [request(parent) for parent in "pq"]
    engine = await Engine.born(bus)
    for one in (old, new):
        await bus.submit(one.parent_id, [one])
    async with Detokenizer(bus).running() as detokenizer:
        first, second = await engine.take()
        await engine.write()
        at = await engine.write(first)
        await engine.write(second, finished(new, 0, FinishReason.LENGTH))
        await answered(bus, "q.0")
        await detokenizer.owner.tend()
        steps, _ = await bus.read(SHARD, {str(engine.executor): ZERO}, ZERO, 0)
        assert steps[0].id == at
        await engine.write(finished(old, 0, FinishReason.LENGTH))
        await answered(bus, "p.0")
        await until(lambda: detokenizer.sessions.unsettled() == [])
        await detokenizer.owner.tend()
        assert bus.statistics()["token_entries"] == 1


class DeafBus(MemoryBus):
    """Settles, and nobody hears that it did."""

    deaf = True

    async def settle(self, shard: int, version: Version, settled: Sequence[Settled]) -> Version:
        after = await super().settle(shard, version, settled)
        if self.deaf:
            raise BusDown
        return after


async def test_a_look_at_the_shard_does_not_wait_for_a_settling_whose_reply_is_lost() -> None:
    """The entry has gone from the bus, and nobody takes that for an accident before the reply comes."""
    bus, one = DeafBus(), request()
    engine = await Engine.born(bus)
    await bus.submit("p", [one])
    async with Detokenizer(bus, keep_s=-1.0).running() as detokenizer:
        await engine.write(*await engine.take(), finished(one, 0, FinishReason.LENGTH))
        await answered(bus)
        await detokenizer.owner.tend()
        assert detokenizer.owner.statistics()["unsettled"] == 1
        bus.deaf = False
        await until(lambda: detokenizer.owner.statistics()["unsettled"] == 0)
        await detokenizer.owner.tend()
        assert detokenizer.sessions.statistics()["sessions"] == 0
        assert await entries(bus) == 0


class RivalBus(MemoryBus):
    """While we fence an executor another owner takes the shard and buries it."""

    async def fence(self, executor: str, shard: int) -> StreamId | None:
        marker = await super().fence(executor, shard)
        await self.bury(executor, shard, 1)
        await self.claim(shard, "another")
        return marker


async def test_an_owner_does_not_wait_for_a_stream_that_its_successor_has_buried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it waits for never comes: it looks who owns the shard, and ends."""
    monkeypatch.setattr(owner, "TEND_S", 0.01)
    bus = RivalBus()
    engine = await Engine.born(bus)
    await bus.submit("p", [request()])
    await engine.take()
    with pytest.raises(ExceptionGroup) as ended:
        async with asyncio.timeout(5), Detokenizer(bus).running() as detokenizer:
            await until(lambda: detokenizer.owner.statistics()["streams"] == 1)
            await bus.leave(engine.executor, 1)
            await asyncio.sleep(10)
    assert ended.group_contains(Retired)
