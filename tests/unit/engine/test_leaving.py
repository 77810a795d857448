"""An engine that is told to leave while one of its lives ends: it leaves, at whatever moment it was told."""

import asyncio
from typing import NoReturn

import pytest

from services.engine.__main__ import Engine
from services.engine.config import EngineConfig
from services.engine.status import Status
from shared.bus import Executor
from shared.memory_bus import MemoryBus
from shared.telemetry.service import opened
from tests.fakes import FakeWorker
from tests.unit.engine.test_trials import a_request

MOMENTS = 60  # turns of the event loop between the fence and the order to leave


class Card(FakeWorker):
    max_model_len, vocab_size, max_num_seqs, max_batched_tokens, num_blocks = 200, 1000, 4, 16, 50

    def __init__(self) -> None:
        super().__init__(self.num_blocks, 4, self.vocab_size)

    def fail(self, error: Exception) -> None:
        """Nothing is lost here."""

    async def failure(self) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError

    def close(self) -> None:
        pass


async def fenced(bus: MemoryBus) -> Executor:
    """An engine's first life, when it has begun a request and somebody has ended it."""
    async with asyncio.timeout(5):
        while not (found := [name for name, stream in bus._streams.items() if len(stream.entries) > 1]):
            await asyncio.sleep(0)
    name, shard = found[0]
    await bus.fence(name, shard)
    return Executor.parse(name)


@pytest.mark.parametrize("moments", range(MOMENTS))
async def test_an_engine_leaves_whatever_ends_at_that_moment(moments: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fence and SIGTERM at once: the life that ends does not hide that the process was told to go."""
    bus = MemoryBus()
    config = EngineConfig(engine_name="e", shards=1, block_size=4)
    first = await bus.next_boot("e")
    engine = Engine(config, bus, first, Status(bus, str(first)), opened("engine", str(first), {}, dict))
    monkeypatch.setattr(engine, "_load", Card)
    await bus.submit("p", [a_request(0, tokens=150)])
    task = asyncio.create_task(engine.run())  # noqa: TID251  # it is cancelled here
    assert await fenced(bus) == first
    for _ in range(moments):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.done(), "it lives on"
    assert task.cancelled(), "it did not leave, but broke"
