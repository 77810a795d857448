"""Inbox, loop and outbox around a scripted scheduler: what the engine's shell promises, without a device."""

import asyncio
from dataclasses import replace

import pytest

from services.engine.core.events import Event
from services.engine.inbox import Inbox
from services.engine.ledger import Ledger
from services.engine.loop import EngineLoop, StepOutput
from services.engine.outbox import Outbox
from shared.bus import ZERO, Executor, Fenced, StreamId
from shared.channel import Channel
from shared.memory_bus import MemoryBus
from shared.messages import Finished, Record, Started, Tokens
from shared.types import FinishReason
from tests.unit.engine.shell_fakes import Countdown, OneAtATime
from tests.unit.engine.test_ledger import a_delivery

EXECUTOR = Executor("e", 1)


async def the_records(bus: MemoryBus, shard: int = 0) -> list[Record]:
    steps, _ = await bus.read(shard, {str(EXECUTOR): ZERO}, ZERO, 0.0)
    return [record for step in steps for record in step.records]


class Shell:
    """Inbox, loop and outbox as `__main__` ties them together, on a bus in memory."""

    def __init__(self, capacity: int = 8, automatic: bool = True) -> None:
        self.bus, self.log = MemoryBus(), list[str]()
        self.events, self.outputs = Channel[Event](16), Channel[StepOutput](16)
        self.ledger = Ledger(capacity)
        self.worker = OneAtATime(self.log, automatic)
        self.loop = EngineLoop(Countdown(self.log), self.worker, self.events, self.outputs)
        self.inbox = Inbox(self.bus, EXECUTOR, self.ledger, self.events, self.outputs, 1000, 64, self.worker.prepare)
        self.outbox = Outbox(self.bus, EXECUTOR, self.ledger, self.outputs)
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, group: asyncio.TaskGroup) -> None:
        await self.bus.birth(EXECUTOR, 1)
        work = (
            *(self.inbox.receive(), self.inbox.prepare(), self.inbox.listen(ZERO)),
            *(self.loop.run(), self.outbox.publish()),
        )
        self.tasks = [group.create_task(coroutine) for coroutine in work]

    def stop(self) -> None:
        for task in self.tasks:
            task.cancel()

    async def until_told(self, count: int) -> list[Record]:
        async with asyncio.timeout(5):
            while len(records := await the_records(self.bus)) < count:
                await asyncio.sleep(0.001)
        return records


async def test_a_request_from_the_bus_becomes_a_start_tokens_and_an_end() -> None:
    shell = Shell()
    async with asyncio.TaskGroup() as group:
        await shell.start(group)
        await shell.bus.submit("p", [a_delivery().request])
        records = await shell.until_told(6)
        shell.stop()
    assert [type(record) for record in records] == [Started, *[Tokens] * 4, Finished]
    assert records[-1] == Finished("p.0", 3, 4, FinishReason.LENGTH)
    assert shell.ledger.statistics()["held"] == 0


async def test_a_cancel_ends_a_running_request() -> None:
    shell = Shell(automatic=False)
    async with asyncio.TaskGroup() as group:
        await shell.start(group)
        await shell.bus.submit("p", [a_delivery().request])
        await shell.until_told(1)
        await shell.bus.cancel("p.0", "disconnect")
        async with asyncio.timeout(5):
            while not shell.events._items and len(shell.worker.waiting) < 2:
                await asyncio.sleep(0.001)
            while shell.ledger.statistics()["held"]:
                if shell.worker.waiting:
                    shell.worker.finish()
                await asyncio.sleep(0.001)
        shell.stop()
    assert isinstance((await the_records(shell.bus))[-1], Finished)


async def test_ids_the_model_has_no_row_for_fail_that_request_alone() -> None:
    shell = Shell()
    bad = replace(a_delivery().request, prompt=(5, 1000))
    async with asyncio.TaskGroup() as group:
        await shell.start(group)
        await shell.bus.submit("p", [bad])
        started, finished = await shell.until_told(2)
        shell.stop()
    assert isinstance(started, Started) and isinstance(finished, Finished)
    assert finished.reason is FinishReason.ERROR and "999" in finished.detail


async def test_an_outage_of_the_bus_loses_nothing_and_doubles_nothing() -> None:
    shell = Shell()
    async with asyncio.TaskGroup() as group:
        await shell.start(group)
        await shell.bus.submit("p", [a_delivery().request])
        shell.bus.down = True
        await asyncio.sleep(0)
        shell.bus.down = False
        records = await shell.until_told(6)
        shell.stop()
    offsets = [record.offset for record in records if isinstance(record, Tokens)]
    assert offsets == [0, 1, 2, 3]


async def test_the_engine_takes_no_more_than_it_has_room_for() -> None:
    shell = Shell(capacity=2, automatic=False)
    async with asyncio.TaskGroup() as group:
        await shell.start(group)
        await shell.bus.submit("p", [a_delivery(index=i).request for i in range(5)])
        await shell.until_told(1)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(await shell.bus.held(EXECUTOR)) == 2
        shell.stop()


async def test_a_fence_ends_the_outbox() -> None:
    bus, ledger, outputs = MemoryBus(), Ledger(4), Channel[StepOutput](4)
    await bus.birth(EXECUTOR, 1)
    await bus.append(EXECUTOR, 0, 1, [Tokens("other", 0, 0, (1,))])  # as another one's hand in our stream would be
    ledger.take(a_delivery())
    outputs.send_nowait(StepOutput(("p.0",), ()))
    with pytest.raises(Fenced):
        await Outbox(bus, EXECUTOR, ledger, outputs).publish()
    assert (await bus.read(0, {str(EXECUTOR): StreamId(1, 0)}, ZERO, 0.0))[0][-1].id == StreamId(1, 1)
