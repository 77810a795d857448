"""What a bus in memory remembers: the state of `memory_bus.py`, and the steps its verbs are made of."""

import asyncio
import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.bus import ZERO, BusDown, Entry, Executor, Holder, Retired, Step, StreamId, Version
from shared.messages import (
    Checkpoint,
    Control,
    EngineStatus,
    GatewayStatus,
    GenerateRequest,
    Outcome,
    Record,
    ShardStatus,
    Tombstone,
)
from shared.types import LANES, Lane, ParentId, RequestId

Saved = dict[str, Any]
REMEMBERED = (
    *("_lanes", "_delivered", "_pending", "_submitted", "_holders", "_streams", "_control", "_versions", "_outcomes"),
    *("_executors", "_engines", "_boots", "_checkpoints", "_dead"),
)


@dataclass(slots=True)
class Stream:
    top: StreamId
    entries: dict[StreamId, tuple[Record, ...]] = field(default_factory=dict)
    written_ms: dict[StreamId, float] = field(default_factory=dict)


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
        self._holders: dict[str, tuple[int, Holder]] = {}  # until when
        self._streams: dict[tuple[str, int], Stream] = {}
        self._control: dict[StreamId, Control] = {}
        self._versions: dict[int, Version] = {}
        self._outcomes: dict[RequestId, Outcome] = {}
        self._executors: set[str] = set()
        self._engines: dict[str, tuple[int, EngineStatus]] = {}
        self._shards: dict[int, tuple[int, ShardStatus]] = {}
        self._gateways: dict[str, tuple[int, GatewayStatus]] = {}
        self._boots: dict[str, int] = {}
        self._checkpoints: dict[RequestId, Checkpoint] = {}
        self._dead: list[GenerateRequest] = []
        self.starts = 1
        self._started_ms = 0

    def saved(self) -> Saved:
        """What a bus that stops now may come back with; blocked readers, leases and clocks apart."""
        return {name: copy.deepcopy(getattr(self, name)) for name in REMEMBERED}

    def restart(self, saved: Saved | None = None) -> None:
        """Stop and start, with all that was known or with what was known when `saved` was taken (PROTOCOL 10)."""
        self.starts += 1
        self._started_ms = self._clock_ms()
        for name, value in copy.deepcopy(saved or {}).items():
            setattr(self, name, value)

    def statistics(self) -> dict[str, int]:
        return {
            "queued": sum(len(lane) for lane in self._lanes.values()),
            "pending": len(self._pending),
            "token_entries": sum(len(stream.entries) for stream in self._streams.values()),
            "outcomes": len(self._outcomes),
            "checkpoints": len(self._checkpoints),
            "dead": len(self._dead),
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

    async def announce_gateway(self, status: GatewayStatus, ttl_ms: int) -> None:
        self._check()
        self._gateways[status.name] = (self._clock_ms() + ttl_ms, status)

    async def gateways(self) -> list[GatewayStatus]:
        self._check()
        now_ms = self._clock_ms()
        self._gateways = {name: lease for name, lease in self._gateways.items() if lease[0] > now_ms}
        return [status for _, status in sorted(self._gateways.values(), key=lambda lease: lease[1].name)]

    async def discard(self, shard: int, version: Version, entries: Sequence[Entry]) -> Version:
        for entry in entries if self._own(shard, version) else ():
            self._dead.append(self._lanes[entry.lane][entry.id])
            self._drop(entry)
        return self._versions[shard]

    def _drop(self, entry: Entry) -> None:
        self._lanes[entry.lane].pop(entry.id, None)
        self._pending.pop(entry, None)

    def _end(self, executor: str, shard: int, drained: bool) -> StreamId | None:
        stream = self._streams.get((executor, shard))
        if stream is None:
            return None
        marker = StreamId(Executor.parse(executor).boot + 1, 0)
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
            Step(name, at, records, stream.written_ms.get(at, 0.0))
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
