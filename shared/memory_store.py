"""What a bus in memory remembers: the state of `memory_bus.py`, and the steps its verbs are made of."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from shared.bus import ZERO, BusDown, Entry, Executor, Retired, Step, StreamId, Version
from shared.messages import Control, EngineStatus, GenerateRequest, Outcome, Record, ShardStatus, Tombstone
from shared.types import LANES, Lane, ParentId, RequestId


@dataclass(slots=True)
class Stream:
    top: StreamId
    entries: dict[StreamId, tuple[Record, ...]] = field(default_factory=dict)


class MemoryStore:
    """The state, and the steps the verbs are made of."""

    def __init__(self, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self.down = False
        self._clock_ms = clock_ms
        self._changed = asyncio.Condition()
        self._last = 0
        self._lanes: dict[Lane, dict[StreamId, GenerateRequest]] = {lane: {} for lane in LANES}
        self._delivered: dict[Lane, StreamId] = dict.fromkeys(LANES, ZERO)
        self._pending: dict[Entry, Executor] = {}
        self._submitted: set[ParentId] = set()
        self._streams: dict[tuple[str, int], Stream] = {}
        self._control: dict[StreamId, Control] = {}
        self._versions: dict[int, Version] = {}
        self._outcomes: dict[RequestId, Outcome] = {}
        self._executors: set[str] = set()
        self._engines: dict[str, tuple[int, EngineStatus]] = {}
        self._shards: dict[int, tuple[int, ShardStatus]] = {}
        self._boots: dict[str, int] = {}

    def statistics(self) -> dict[str, int]:
        return {
            "queued": sum(len(lane) for lane in self._lanes.values()),
            "pending": len(self._pending),
            "token_entries": sum(len(stream.entries) for stream in self._streams.values()),
            "outcomes": len(self._outcomes),
        }

    def _check(self) -> None:
        if self.down:
            raise BusDown("the bus is down")

    def _own(self, shard: int, version: Version) -> bool:
        """Move the version on; False if that was done before, and the reply was lost."""
        self._check()
        now, after = self._versions.get(shard), Version(version.nonce, version.counter + 1)
        if now not in (version, after):
            raise Retired(f"shard {shard} belongs to {now}")
        self._versions[shard] = after
        return now == version

    def _drop(self, entry: Entry) -> None:
        self._lanes[entry.lane].pop(entry.id, None)
        self._pending.pop(entry, None)

    def _end(self, executor: str, shard: int, drained: bool) -> StreamId | None:
        marker, stream = StreamId(Executor.parse(executor).boot + 1, 0), self._streams.get((executor, shard))
        if stream is None:
            return None
        if stream.top < marker:
            stream.top = marker
            stream.entries[marker] = (Tombstone(drained),)
        return marker

    def _next_id(self) -> StreamId:
        self._last += 1
        return StreamId(self._last, 0)

    def _fresh(self, lane: Lane) -> list[StreamId]:
        return [at for at in self._lanes[lane] if at > self._delivered[lane]]

    def _steps(self, shard: int, cursors: Mapping[str, StreamId]) -> list[Step]:
        return [
            Step(name, at, records)
            for name, cursor in cursors.items()
            if (stream := self._streams.get((name, shard)))
            for at, records in stream.entries.items()
            if at > cursor
        ]

    def _messages(self, after: StreamId) -> list[tuple[StreamId, Control]]:
        return [(at, message) for at, message in self._control.items() if at > after]

    async def _say(self, message: Control) -> None:
        self._check()
        self._control[self._next_id()] = message
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _wait(self, ready: Callable[[], bool], wait_s: float) -> None:
        if ready() or wait_s <= 0:
            return
        try:
            async with asyncio.timeout(wait_s), self._changed:
                await self._changed.wait_for(lambda: self.down or ready())
        except TimeoutError:
            pass
        self._check()
