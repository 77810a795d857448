"""The bus in one process, for tests and benches: the contract of `bus.py` without Redis.

`down` makes every verb raise BusDown, as a lost connection does.
"""

from collections.abc import Mapping, Sequence

from shared.bus import (
    BEGINNING,
    PAGE,
    ZERO,
    Delivery,
    Entry,
    Executor,
    Fenced,
    Holder,
    Moved,
    Settled,
    Snapshot,
    Step,
    StreamId,
    Version,
)
from shared.memory_store import MemoryStore, Stream
from shared.messages import (
    Born,
    Cancel,
    Checkpoint,
    Control,
    EngineStatus,
    GenerateRequest,
    Outcome,
    Record,
    ShardStatus,
)
from shared.types import LANES, Lane, ParentId, RequestId


class MemoryBus(MemoryStore):
    # ---- gateways
    async def submit(self, parent: ParentId, requests: Sequence[GenerateRequest]) -> bool:
        self._check()
        if parent in self._submitted:
            return False
        self._submitted.add(parent)
        for request in requests:
            self._lanes[request.lane][self._next_id()] = request
        await self._notify()
        return True

    async def submit_as(
        self, key: str, holder: Holder, requests: Sequence[GenerateRequest], keep_ms: int, after: ParentId = ""
    ) -> Holder:
        now = await self.holder(key)
        if now is None or now.parent == after:
            await self.submit(holder.parent, requests)
            self._holders[key] = (self._clock_ms() + keep_ms, holder)
            return holder
        return now

    async def holder(self, key: str) -> Holder | None:
        self._check()
        until, holder = self._holders.get(key, (0, None))
        return holder if until > self._clock_ms() else None

    async def cancel(self, request: RequestId | ParentId, reason: str) -> None:
        await self._say(Cancel(request, reason))

    async def backlog(self) -> int:
        self._check()
        return sum(map(len, self._lanes.values()))

    async def engines(self) -> list[EngineStatus]:
        self._check()
        return [status for until, status in self._engines.values() if until > self._clock_ms()]

    async def shards(self, count: int) -> list[ShardStatus | None]:
        self._check()
        alive = {shard: status for shard, (until, status) in self._shards.items() if until > self._clock_ms()}
        return [alive.get(shard) for shard in range(count)]

    # ---- engines
    async def next_boot(self, engine: str, above: int = 0) -> Executor:
        self._check()
        self._boots[engine] = max(self._boots.get(engine, 0) + 1, self._clock_ms() // 1000, above + 1)
        return Executor(engine, self._boots[engine])

    async def announce_engine(self, status: EngineStatus, ttl_ms: int) -> None:
        self._check()
        self._executors.add(status.name)
        self._engines[status.name] = (self._clock_ms() + ttl_ms, status)

    async def birth(self, executor: Executor, shards: int) -> None:
        self._check()
        self._executors.add(str(executor))
        for shard in range(shards):
            top = StreamId(executor.boot, 0)
            self._streams.setdefault((str(executor), shard), Stream(top, {top: ()}))
        await self._say(Born(str(executor)))

    async def take(
        self, executor: Executor, count: int, wait_s: float, lanes: Sequence[Lane] = LANES
    ) -> list[Delivery]:
        self._check()
        await self._wait(lambda: any(self._fresh(lane) for lane in lanes), wait_s)
        taken: list[Delivery] = []
        for lane in lanes:
            for at in self._fresh(lane)[: count - len(taken)]:
                self._delivered[lane] = at
                self._pending[Entry(lane, at)] = executor
                taken.append(Delivery(Entry(lane, at), self._lanes[lane][at]))
        return taken

    async def held(self, executor: Executor) -> list[Delivery]:
        self._check()
        mine = [entry for entry, owner in self._pending.items() if owner == executor]
        return [Delivery(entry, self._lanes[entry.lane][entry.id]) for entry in mine]

    async def append(self, executor: Executor, shard: int, step: int, records: Sequence[Record]) -> None:
        self._check()
        stream, at = self._streams.get((str(executor), shard)), StreamId(executor.boot, step)
        if stream is None:
            raise Fenced(f"{executor} has no stream for shard {shard}")
        if at <= stream.top:
            if at == stream.top and stream.entries.get(at) == tuple(records):
                return
            raise Fenced(f"{executor} may not write {at} below {stream.top}")
        stream.top = at
        stream.entries[at] = tuple(records)
        stream.written_ms[at] = float(self._clock_ms())
        await self._notify()

    async def leave(self, executor: Executor, shards: int) -> None:
        self._check()
        for shard in range(shards):
            self._end(str(executor), shard, drained=True)
        self._engines.pop(str(executor), None)
        await self._notify()

    # ---- owners of shards
    async def announce_shard(self, status: ShardStatus, ttl_ms: int) -> None:
        self._check()
        self._shards[status.shard] = (self._clock_ms() + ttl_ms, status)

    async def claim(self, shard: int, nonce: str) -> Version:
        self._check()
        self._versions[shard] = Version(nonce, 0)
        return self._versions[shard]

    async def snapshot(self, shard: int, after: Mapping[Lane, StreamId] = BEGINNING) -> Snapshot:
        self._check()
        pages = {lane: [at for at in self._lanes[lane] if at > after[lane]][:PAGE] for lane in LANES}
        found = {Entry(lane, at): self._lanes[lane][at] for lane, page in pages.items() for at in page}
        return Snapshot(
            version=self._versions.get(shard, Version("", 0)),
            entries={entry: request for entry, request in found.items() if request.shard == shard},
            elsewhere={entry: request.shard for entry, request in found.items() if request.shard != shard},
            executors=frozenset(self._executors),
            leases=frozenset(name for name, (until, _) in self._engines.items() if until > self._clock_ms()),
            pending={entry: str(owner) for entry, owner in self._pending.items()},
            delivered=dict(self._delivered),
            read={lane: page[-1] if page else after[lane] for lane, page in pages.items()},
            complete=all(len(page) < PAGE for page in pages.values()),
            memory=str(self.starts),
            uptime_s=(self._clock_ms() - self._started_ms) / 1000,
        )

    async def requests(self, entries: Sequence[Entry]) -> dict[Entry, GenerateRequest]:
        self._check()
        return {entry: found for entry in entries if (found := self._lanes[entry.lane].get(entry.id))}

    async def read(
        self, shard: int, cursors: Mapping[str, StreamId], control: StreamId, wait_s: float
    ) -> tuple[list[Step], list[tuple[StreamId, Control]]]:
        self._check()
        await self._wait(lambda: bool(self._steps(shard, cursors) or self._messages(control)), wait_s)
        return self._steps(shard, cursors), self._messages(control)

    async def settle(self, shard: int, version: Version, settled: Sequence[Settled]) -> Version:
        for one in settled if self._own(shard, version) else ():
            if one.entry:
                self._drop(one.entry)
            self._outcomes[one.outcome.request.id] = one.outcome
            self._checkpoints.pop(one.outcome.request.id, None)
            if one.dead:
                self._dead.append(one.dead)
        return self._versions[shard]

    async def move(
        self, shard: int, version: Version, moved: Sequence[Moved], dropped: Sequence[Entry] = ()
    ) -> Version:
        if self._own(shard, version):
            for one in moved:
                self._drop(one.entry)
                self._lanes[one.request.lane][self._next_id()] = one.request
                self._checkpoints.pop(one.request.id, None)
            for entry in dropped:
                self._drop(entry)
        after = self._versions[shard]
        await self._notify()
        return after

    async def checkpoint(self, shard: int, version: Version, saved: Sequence[Checkpoint]) -> Version:
        if self._own(shard, version):
            self._checkpoints |= {one.started.request.id: one for one in saved}
        return self._versions[shard]

    async def checkpoints(self, requests: Sequence[RequestId]) -> list[Checkpoint]:
        self._check()
        return [self._checkpoints[id] for id in requests if id in self._checkpoints]

    async def fence(self, executor: str, shard: int) -> StreamId | None:
        self._check()
        marker = self._end(executor, shard, drained=False)
        await self._notify()
        return marker

    async def bury(self, executor: str, shard: int, shards: int) -> None:
        self._check()
        self._streams.pop((executor, shard), None)
        if not any(name == executor for name, _ in self._streams):
            self._executors.discard(executor)

    async def trim(self, shard: int, below: Mapping[str, StreamId]) -> None:
        self._check()
        for name, least in below.items():
            if stream := self._streams.get((name, shard)):
                stream.entries = {at: records for at, records in stream.entries.items() if at >= least}
                stream.written_ms = {at: written for at, written in stream.written_ms.items() if at >= least}

    async def outcome(self, request: RequestId) -> Outcome | None:
        self._check()
        return self._outcomes.get(request)

    async def forget(self, requests: Sequence[RequestId]) -> None:
        self._check()
        for id in requests:
            self._outcomes.pop(id, None)

    # ---- engines and owners
    async def control(self, after: StreamId, wait_s: float) -> list[tuple[StreamId, Control]]:
        self._check()
        await self._wait(lambda: bool(self._messages(after)), wait_s)
        return self._messages(after)

    async def control_end(self) -> StreamId:
        self._check()
        return max(self._control, default=ZERO)

    async def memory(self) -> str:
        self._check()
        return str(self.starts)

    async def now_ms(self) -> int:
        self._check()
        return self._clock_ms()

    async def close(self) -> None:
        pass
