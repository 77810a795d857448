"""An engine is born again after a fence or a new start of the bus: the same scheduler, nothing of its last life."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

import pytest

from services.engine import life
from services.engine.inbox import Inbox
from services.engine.life import Life
from services.engine.loop import EngineLoop
from shared.bus import ZERO, Executor, Fenced, Rewound
from shared.memory_bus import MemoryBus
from shared.messages import Finished, Record, Started, Tokens
from tests.unit.engine.shell_fakes import Countdown, OneAtATime
from tests.unit.engine.test_trials import a_request

TOKENS = 50


class Card(OneAtATime):
    num_blocks, max_model_len, vocab_size, max_num_seqs, max_batched_tokens = 10, 1000, 1000, 4, 100

    def fail(self, error: Exception) -> None:
        """Nothing is lost here."""

    async def failure(self) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError

    def close(self) -> None:
        pass


class Machine:
    """What outlives an engine's lives."""

    def __init__(self) -> None:
        self.bus, log = MemoryBus(), list[str]()
        self.scheduler, self.card = Countdown(log), Card(log)
        self.boot = 0

    async def live(self) -> None:
        self.boot = (await self.bus.next_boot("e", self.boot)).boot
        one = Life(self.bus, self.executor, self.scheduler, self.card, Inbox, EngineLoop, 4, True)
        await one.run(1, self._announce)

    @property
    def executor(self) -> Executor:
        return Executor("e", self.boot)

    async def records(self) -> list[Record]:
        steps, _ = await self.bus.read(0, {str(self.executor): ZERO}, ZERO, 0.0)
        return [record for step in steps for record in step.records]

    async def until_told(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(await self.records()) < count:
                await asyncio.sleep(0.001)

    async def _announce(self) -> None:
        pass


@asynccontextmanager
async def a_life_ends(machine: Machine, by: type[Exception]) -> AsyncIterator[None]:
    """Begins one with a request that runs, and expects its end of whatever happens inside."""
    await machine.bus.submit("p", [a_request(0, tokens=TOKENS)])
    with pytest.raises(ExceptionGroup) as ended:
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(machine.live())
            while not machine.boot:
                await asyncio.sleep(0)
            await machine.until_told(5)
            yield
    assert ended.group_contains(by)
    assert machine.scheduler.idle


@pytest.mark.parametrize("by", [Fenced, Rewound])
async def test_who_is_ended_holds_nothing_and_the_next_life_runs_the_request_again(
    by: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entry has been queued again by the owner; the tokens of the last life are told to nobody."""
    monkeypatch.setattr(life, "WATCH_S", 0.01)
    machine = Machine()
    async with a_life_ends(machine, by):
        if by is Fenced:
            await machine.bus.fence(str(machine.executor), 0)
        else:
            machine.bus.restart()
    before = machine.executor
    await machine.bus.submit("again", [a_request(0, tokens=TOKENS)])
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(machine.live())
        while machine.executor == before:
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            while not any(isinstance(record, Finished) for record in await machine.records()):
                await asyncio.sleep(0.001)
        task.cancel()
    records = await machine.records()
    assert [record.offset for record in records if isinstance(record, Tokens)] == list(range(TOKENS))
    assert sum(isinstance(record, Started) for record in records) == 1


async def test_a_life_ends_while_the_bus_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop waits for the outbox, and that for the bus: the end of this life waits for neither."""
    monkeypatch.setattr(life, "WATCH_S", 0.01)
    monkeypatch.setattr(life, "OUTPUTS", 1)
    machine = Machine()
    async with a_life_ends(machine, Rewound):
        machine.bus.down = True
        steps = machine.scheduler.steps
        while machine.scheduler.steps < steps + 2:
            await asyncio.sleep(0)
        machine.bus.restart()
        machine.bus.down = False


async def test_a_boot_is_above_every_boot_that_this_process_knows_of() -> None:
    """A bus that came back older has forgotten the last one, within the same second."""
    bus = MemoryBus(lambda: 5_000)
    before = bus.saved()
    first = await bus.next_boot("e")
    bus.restart(before)
    assert (await bus.next_boot("e", first.boot)).boot > first.boot
