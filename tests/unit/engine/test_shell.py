"""Inbox, loop and outbox around a scripted scheduler: what the engine's shell promises, without a device."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest

from services.engine.core.events import Abort, Delta, Event, Submit
from services.engine.core.step import StepPlan, StepResult
from services.engine.inbox import Inbox
from services.engine.ledger import Ledger
from services.engine.loop import EngineLoop, StepOutput
from services.engine.outbox import Outbox
from shared.bus import ZERO, Executor, Fenced, StreamId
from shared.channel import Channel
from shared.memory_bus import MemoryBus
from shared.messages import Finished, Record, Started, Tokens
from shared.types import FinishReason, SamplingParams
from tests.unit.engine.test_ledger import a_delivery

EXECUTOR = Executor("e", 1)
TURNS = 20


class Countdown:
    """A scheduler for requests of `max_tokens` tokens, all of them in every step; it logs what it was asked."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.left: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.flights: list[tuple[str, ...]] = []
        self.steps = 0

    @property
    def idle(self) -> bool:
        return not self.left and not self.flights

    def handle(self, event: Event) -> list[Delta]:
        match event:
            case Submit():
                self.left[event.id] = event.sampling.max_tokens
                self.done[event.id] = 0
                return []
            case Abort(id):
                if self.left.pop(id, None) is None:
                    return []
                return [Delta(id, self.done[id], (), FinishReason.CANCEL)]

    def plan(self, now: float) -> StepPlan | None:
        ids = tuple(i for i, left in self.left.items() if left > sum(i in f for f in self.flights))
        if not ids:
            return None
        began = tuple(i for i in ids if self.done[i] == 0 and not any(i in f for f in self.flights))
        self.flights.append(ids)
        self.steps += 1
        self.log.append(f"plan {self.steps}")
        return StepPlan(self.steps, (), (), (), (), began)

    def commit(self, result: StepResult) -> list[Delta]:
        self.log.append(f"commit {result.step}")
        deltas = []
        for i in self.flights.pop(0):
            if i in self.left:
                self.left[i] -= 1
                end = FinishReason.LENGTH if self.left[i] == 0 else None
                deltas.append(Delta(i, self.done[i], (100 + self.done[i],), end))
                self.done[i] += 1
                if end:
                    del self.left[i]
        return deltas


class OneAtATime:
    """A worker whose steps end one after the other, by themselves or when the test says so."""

    def __init__(self, log: list[str], automatic: bool = True) -> None:
        self.log, self.automatic = log, automatic
        self.waiting: list[tuple[int, asyncio.Future[StepResult]]] = []

    def submit(self, plan: StepPlan) -> Awaitable[StepResult]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[StepResult] = loop.create_future()
        self.waiting.append((plan.step, future))
        if self.automatic and len(self.waiting) == 1:
            self._later(TURNS)
        return future

    def _later(self, turns: int) -> None:
        """End the oldest step after that many turns of the loop: long enough for anybody who need not wait for it."""
        if turns:
            asyncio.get_running_loop().call_soon(self._later, turns - 1)
        else:
            self.finish()
            if self.waiting:
                self._later(TURNS)

    def finish(self) -> None:
        step, future = self.waiting.pop(0)
        self.log.append(f"end {step}")
        future.set_result(StepResult(step, ()))

    def statistics(self) -> dict[str, float]:
        return {}


def a_submit(id: str, tokens: int) -> Submit:
    return Submit(id=id, parent_id="p", prompt=(1,), sampling=SamplingParams(max_tokens=tokens))


async def run_loop(overlap: bool, capacity: int = 100) -> tuple[list[str], EngineLoop, list[StepOutput]]:
    log: list[str] = []
    events, outputs = Channel[Event](10), Channel[StepOutput](capacity)
    loop = EngineLoop(Countdown(log), OneAtATime(log), events, outputs, overlap=overlap)
    events.send_nowait(a_submit("a", 3))
    events.close()
    await loop.run()
    return log, loop, [output async for output in outputs]


async def test_the_next_step_is_planned_while_one_runs() -> None:
    log, loop, _ = await run_loop(overlap=True)
    assert log.index("plan 2") < log.index("end 1") and log.index("plan 3") < log.index("end 2")
    assert log.index("plan 1") < log.index("plan 2") < log.index("end 1")
    assert loop.statistics() == {"steps": 3, "overlapped": 2}


async def test_without_overlap_a_step_ends_before_the_next_is_planned() -> None:
    log, loop, _ = await run_loop(overlap=False)
    assert log.index("commit 1") < log.index("plan 2")
    assert loop.statistics() == {"steps": 3, "overlapped": 0}


async def test_both_ways_tell_the_same_story() -> None:
    """Each token once, the start before all, the end with the last."""
    for overlap in (True, False):
        _, _, outputs = await run_loop(overlap)
        assert outputs[0] == StepOutput(("a",), ())
        deltas = [delta for output in outputs for delta in output.deltas]
        assert [(d.offset, d.ids, d.finish) for d in deltas] == [
            (0, (100,), None),
            (1, (101,), None),
            (2, (102,), FinishReason.LENGTH),
        ]


async def test_a_full_outbox_makes_the_loop_wait() -> None:
    """Pressure: a slow bus slows the device instead of filling memory."""
    log: list[str] = []
    events, outputs = Channel[Event](10), Channel[StepOutput](1)
    loop = EngineLoop(Countdown(log), OneAtATime(log), events, outputs)
    events.send_nowait(a_submit("a", 50))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(loop.run())
        for _ in range(200):
            await asyncio.sleep(0)
        assert loop.statistics()["steps"] <= 4
        events.close()
        received = [output async for output in outputs]
    assert running.done() and sum(len(o.deltas) for o in received) == 50


async def test_a_step_that_fails_ends_the_engine_with_its_error() -> None:
    log: list[str] = []
    events, outputs = Channel[Event](10), Channel[StepOutput](10)
    worker = OneAtATime(log, automatic=False)
    loop = EngineLoop(Countdown(log), worker, events, outputs)
    events.send_nowait(a_submit("a", 5))
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(loop.run())
            for _ in range(5):
                await asyncio.sleep(0)
            worker.waiting[0][1].set_exception(RuntimeError("out of memory"))
    assert "out of memory" in str(caught.value.exceptions[0])


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
        self.inbox = Inbox(self.bus, EXECUTOR, self.ledger, self.events, self.outputs, 1000)
        self.outbox = Outbox(self.bus, EXECUTOR, self.ledger, self.outputs)
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, group: asyncio.TaskGroup) -> None:
        await self.bus.birth(EXECUTOR, 1)
        work = (self.inbox.receive(), self.inbox.listen(ZERO), self.loop.run(), self.outbox.publish())
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
