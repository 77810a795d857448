"""What an engine takes from the bus, when, and how much of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from services.engine.core.events import Event, Submit
from services.engine.inbox import BATCH_READS, SIP, Inbox
from services.engine.ledger import Ledger
from services.engine.loop import StepOutput
from shared.bus import Delivery, Executor
from shared.channel import Channel
from shared.memory_bus import MemoryBus
from shared.messages import GenerateRequest
from shared.types import LANES, Lane
from tests.unit.engine.test_ledger import a_delivery

EXECUTOR = Executor("e", 1)


class Watched(MemoryBus):
    """Writes down how it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, float, Lane]] = []

    async def take(
        self, executor: Executor, count: int, wait_s: float, lanes: Sequence[Lane] = LANES
    ) -> list[Delivery]:
        self.asked.append((count, wait_s, lanes[0]))
        return await super().take(executor, count, wait_s, lanes)


def a_request(name: str, **changes: object) -> GenerateRequest:
    return replace(a_delivery().request, id=f"{name}.0", parent_id=name, **changes)  # type: ignore[arg-type]


class Intake:
    """An inbox of an engine with four rows, and what it handed to the scheduler."""

    def __init__(self, capacity: int = 100) -> None:
        self.bus, self.ledger = Watched(), Ledger(capacity)
        self.events = Channel[Event](200)
        self.inbox = Inbox(self.bus, EXECUTOR, self.ledger, self.events, Channel[StepOutput](200), 1000, 4)

    async def submits(self, count: int) -> list[Submit]:
        found: list[Submit] = []
        task = asyncio.get_running_loop().create_task(self.inbox.receive())
        async with asyncio.timeout(5):
            while len(found) < count:
                event = await self.events.receive()
                assert isinstance(event, Submit)
                found.append(event)
        task.cancel()
        await asyncio.wait([task])
        return found


async def test_free_rows_are_filled_at_once_and_the_rest_is_taken_in_sips() -> None:
    """While rows are free it waits in line for more; once it is full it only takes what nobody else wanted."""
    intake = Intake()
    for number in range(60):
        await intake.bus.submit(f"p{number}", [a_request(f"p{number}")])
    await intake.submits(4 + 2 * SIP)
    counts = [(count, wait_s > 0) for count, wait_s, _ in intake.bus.asked[:3]]
    assert counts == [(4, True), (SIP, False), (SIP, False)]


async def test_a_full_engine_takes_nothing() -> None:
    intake = Intake(capacity=6)
    for number in range(10):
        await intake.bus.submit(f"p{number}", [a_request(f"p{number}")])
    await intake.submits(6)
    assert intake.ledger.room == 0 and len(await intake.bus.take(Executor("f", 2), 10, 0.0)) == 4


async def test_the_batch_lane_is_read_now_and_then_however_long_the_other_is() -> None:
    """One read of so many asks for it first."""
    intake = Intake(capacity=150)
    await intake.bus.submit("patient", [a_request("patient", lane="batch")])
    for number in range(200):
        await intake.bus.submit(f"p{number}", [a_request(f"p{number}")])
    taken = await intake.submits(110)
    [place] = [place for place, event in enumerate(taken) if event.lane == "batch"]
    assert place == 4 + (BATCH_READS - 2) * SIP
    assert intake.bus.asked[BATCH_READS - 1][2] == "batch"


async def test_what_the_scheduler_orders_by_comes_through() -> None:
    """Lane, tenant and priority as they are; the deadline on the engine's own clock."""
    intake = Intake()
    soon_ms = await intake.bus.now_ms() + 50_000
    request = a_request("p", lane="batch", tenant="t", priority=3, deadline_ms=soon_ms)
    await intake.bus.submit("p", [request])
    [event] = await intake.submits(1)
    assert (event.lane, event.tenant, event.priority) == ("batch", "t", 3)
    assert 49.0 < event.deadline - event.arrival < 50.1
