"""A detokenizer, a gateway's connection and an engine around a bus in memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from services.detokenizer.links import Links
from services.detokenizer.owner import Owner
from services.detokenizer.sessions import Sessions
from shared.bus import Executor, StreamId
from shared.frames import Attach, Frame
from shared.memory_bus import MemoryBus
from shared.messages import EngineStatus, Record, ShardStatus, Started
from tests.unit.detokenizer.cases import VOCABULARY

TEXT = "The river says nothing, but the mill turns. \u65e5\u672c\u8a9e"
SHARD = 0
LEASE_MS = 600_000  # of an engine that lives as long as the test


class Detokenizer:
    """One process: an owner, its sessions, and a gateway's connection with all that came over it."""

    def __init__(
        self,
        bus: MemoryBus,
        instance: str = "first",
        keep_s: float = 30.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sessions = Sessions(VOCABULARY)
        self.links = Links(self.sessions.frame, 100, now_s)
        self.status = ShardStatus(shard=SHARD, url="http://here", instance=instance)
        self.owner = Owner(bus, self.sessions, self.links, self.status, 1, keep_s, now_s=now_s)

    def connect(self, **cursors: str) -> "Gateway":
        gateway = Gateway(self.links, cursors)
        self.owner.look()
        return gateway

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Detokenizer"]:
        """Its life; killed without a word in the end."""
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.owner.run())
            await until(lambda: self.owner.ready)
            yield self
            task.cancel()


class Gateway:
    def __init__(self, links: Links, cursors: dict[str, str]) -> None:
        self._links = links
        self._link = links.open(Attach("gate", cursors))
        self.frames: list[Frame] = []

    def read(self, parent: str = "p") -> list[Frame]:
        for frames in self._links.take_nowait(self._link):
            self.frames += frames
        return [frame for frame in self.frames if frame.parent == parent]

    def has_all(self, parent: str = "p") -> bool:
        return any(frame.last for frame in self.read(parent))


class Engine:
    """Takes requests and writes what the test says."""

    def __init__(self, bus: MemoryBus, executor: Executor) -> None:
        self._bus = bus
        self.executor = executor
        self._step = 0

    @classmethod
    async def born(cls, bus: MemoryBus) -> "Engine":
        executor = await bus.next_boot("gpu")
        await bus.announce_engine(EngineStatus(name=str(executor), state="ready"), LEASE_MS)
        await bus.birth(executor, 1)
        return cls(bus, executor)

    async def take(self) -> list[Started]:
        taken = await self._bus.take(self.executor, 10, 0)
        return [Started(str(delivery.entry.id), delivery.request) for delivery in taken]

    async def write(self, *records: Record) -> StreamId:
        self._step += 1
        await self._bus.append(self.executor, SHARD, self._step, records)
        return StreamId(self.executor.boot, self._step)


async def until(true: Callable[[], bool], limit_s: float = 5.0) -> None:
    async with asyncio.timeout(limit_s):
        while not true():
            await asyncio.sleep(0)  # other tasks run


async def answered(bus: MemoryBus, id: str = "p.0") -> None:
    async with asyncio.timeout(5):
        while await bus.outcome(id) is None:
            await asyncio.sleep(0)


def shown(frames: list[Frame]) -> str:
    return "".join(frame.data for frame in frames)


async def entries(bus: MemoryBus) -> int:
    return len((await bus.snapshot(SHARD)).entries)
