"""What of a prompt was computed before is told once, by its first engine, behind `Started` and before any token."""

import asyncio

from services.engine.core.scheduler import Scheduler, SchedulerConfig
from services.engine.inbox import Inbox
from services.engine.ledger import Ledger
from services.engine.life import Life
from services.engine.loop import EngineLoop
from shared.bus import ZERO, Delivery, Entry, StreamId
from shared.memory_bus import MemoryBus
from shared.messages import Cached, Finished, GenerateRequest, Record, RenderSpec, Started
from shared.types import SamplingParams, request_id
from tests.unit.engine.test_sim import sim

BLOCK, BLOCKS = 16, 2


def a_request(parent: str, attempt: int = 0) -> GenerateRequest:
    return GenerateRequest(
        id=request_id(parent, 0),
        parent_id=parent,
        index=0,
        prompt=tuple(range(BLOCK * BLOCKS + 3)),
        sampling=SamplingParams(max_tokens=2),
        render=RenderSpec(kind="chat", model="m", created=1, stream=True, choices=1, prompt_tokens=3),
        shard=0,
        attempt=attempt,
    )


def test_it_is_told_once_and_of_first_attempts_alone() -> None:
    """A request that was set aside finds its own blocks when it comes back. `Started` may have been told before."""
    ledger = Ledger(4)
    for number, (parent, attempt) in enumerate((("new", 0), ("old", 1), ("cold", 0))):
        ledger.take(Delivery(Entry("interactive", StreamId(1, number)), a_request(parent, attempt)))
        assert [type(record) for _, record in ledger.start(f"{parent}.0")] == [Started]
    assert ledger.start("new.0", 7) == [(0, Cached("new.0", 0, 7))]
    assert ledger.start("old.0", 7) == ledger.start("cold.0", 0) == []
    assert ledger.start("new.0", 9) == ledger.start("cold.0", 9) == []


async def test_an_engine_tells_what_it_had_computed_for_others() -> None:
    bus = MemoryBus()
    executor = await bus.next_boot("e")
    card = sim()
    config = SchedulerConfig(num_blocks=64, block_size=BLOCK, max_num_seqs=8, max_batched_tokens=64, max_model_len=256)
    one = Life(bus, executor, Scheduler(config), card, Inbox, EngineLoop, 4, True)

    async def announce() -> None:
        pass

    async def records() -> list[Record]:
        steps, _ = await bus.read(0, {str(executor): ZERO}, ZERO, 0.0)
        return [record for step in steps for record in step.records]

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(one.run(1, announce))
        for count, parent in enumerate(("first", "second"), 1):
            await bus.submit(parent, [a_request(parent)])
            while sum(isinstance(record, Finished) for record in await records()) < count:
                await asyncio.sleep(0.001)
        task.cancel()
    told = [type(record).__name__ for record in await records() if not isinstance(record, Finished)]
    assert [record for record in await records() if isinstance(record, Cached)] == [
        Cached("second.0", 0, BLOCK * BLOCKS)
    ]
    assert told == ["Started", "Tokens", "Tokens", "Started", "Cached", "Tokens", "Tokens"]
