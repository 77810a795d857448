"""The bus's server in the model: the production `MemoryBus`, restarted and rolled back, and watched in every write.

What is asserted here holds at any moment, whatever happens around: a request lies in one entry at most, in none after
its end, and ends once. A rollback to an older copy suspends that: what it took away is asserted again (PROTOCOL 10).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.bus import Delivery, Entry, Executor, Moved, Settled, StreamId, Version
from shared.memory_bus import MemoryBus
from shared.memory_store import REMEMBERED, Stream
from shared.messages import GenerateRequest, Outcome, Record, Started
from shared.types import LANES, Lane, ParentId


class Violation(Exception):
    """A promise of the protocol is broken."""


class Server(MemoryBus):
    def __init__(self, clock_ms: Callable[[], int], mortal: bool) -> None:
        """`mortal`: engines may die, or seem to."""
        super().__init__(clock_ms)
        self._mortal = mortal
        self.rolled_back = False
        self.ends: dict[str, Outcome] = {}  # every outcome ever written
        self.given_ms: dict[Entry, int] = {}  # when it was given to an engine
        self.started_ms: dict[str, int] = {}  # when a request ran first
        self.written_ms: dict[tuple[str, StreamId], int] = {}
        self.begun: set[tuple[Executor, str]] = set()  # executor, and the entry it has started

    # ---- what is watched
    async def submit(self, parent: ParentId, requests: Sequence[GenerateRequest]) -> bool:
        fresh = await super().submit(parent, requests)
        if fresh:
            self._queued(requests)
        return fresh

    async def move(
        self, shard: int, version: Version, moved: Sequence[Moved], dropped: Sequence[Entry] = ()
    ) -> Version:
        after = await super().move(shard, version, moved, dropped)
        for one in moved:
            if one.request.deaths and not self._mortal:
                raise Violation(f"{one.request.id} counts a death, and nobody has died")
        self._queued([one.request for one in moved])
        return after

    async def settle(self, shard: int, version: Version, settled: Sequence[Settled]) -> Version:
        after = await super().settle(shard, version, settled)
        for one in settled:
            self._ended(one.outcome)
        return after

    async def take(
        self, executor: Executor, count: int, wait_s: float, lanes: Sequence[Lane] = LANES
    ) -> list[Delivery]:
        given = await super().take(executor, count, wait_s, lanes)
        self.given_ms |= {delivery.entry: self._clock_ms() for delivery in given}
        return given

    async def append(self, executor: Executor, shard: int, step: int, records: Sequence[Record]) -> None:
        fresh = self._streams.get((str(executor), shard)) and self.top(str(executor), shard) != (executor.boot, step)
        await super().append(executor, shard, step, records)
        self.written_ms.setdefault((str(executor), StreamId(executor.boot, step)), self._clock_ms())
        for record in records if fresh else ():
            if isinstance(record, Started):
                self.started_ms.setdefault(record.request.id, self._clock_ms())
                if (executor, record.entry) in self.begun and not self.rolled_back:
                    raise Violation(f"{executor} starts {record.request.id} twice from one entry")
                self.begun.add((executor, record.entry))

    def _queued(self, requests: Sequence[GenerateRequest]) -> None:
        if self.rolled_back:
            return
        for request in requests:
            lying = [r for lane in LANES for r in self._lanes[lane].values() if r.id == request.id]
            if len(lying) > 1:
                raise Violation(f"{request.id} is queued twice: attempts {[r.attempt for r in lying]}")
            if lying and request.id in self.ends:
                raise Violation(f"{request.id} is queued after its end")

    def _ended(self, outcome: Outcome) -> None:
        id, old = outcome.request.id, self.ends.setdefault(outcome.request.id, outcome)
        same = (old.reason, old.text, old.request.output) == (outcome.reason, outcome.text, outcome.request.output)
        if not same and not self.rolled_back:
            raise Violation(f"{id} has two ends: {old.reason} after {len(old.text)} characters, then {outcome.reason}")

    # ---- what the explorer does
    def expire(self, name: str) -> None:
        """The lease of an engine's boot runs out."""
        if name in self._engines:
            self._engines[name] = (0, self._engines[name][1])

    def leases(self) -> list[str]:
        return [name for name, (until, _) in self._engines.items() if until > self._clock_ms()]

    def copy(self) -> dict[str, Any]:
        """All data, as a file on disk would keep it."""
        return {name: _copied(getattr(self, name)) for name in REMEMBERED}

    def owned(self, shards: int) -> bool:
        """Has every shard had an owner?"""
        return len(self._versions) == shards

    def roll_back(self, copy: Mapping[str, Any]) -> None:
        self.rolled_back = True
        self.restart()
        for name, value in copy.items():
            setattr(self, name, _copied(value))

    # ---- what is left
    def unrest(self, alive: set[str]) -> str:
        """What should not be there once all has ended; "" if nothing is."""
        if left := [request.id for lane in LANES for request in self._lanes[lane].values()]:
            return f"still queued: {left}"
        if self._pending:
            return f"still pending: {[(str(entry.id), str(owner)) for entry, owner in self._pending.items()]}"
        if dead := sorted(self._executors - alive):
            return f"executors never buried: {dead}"
        if dead := sorted({name for name, _ in self._streams} - alive):
            return f"streams of the dead: {dead}"
        if long := [(key, len(stream.entries)) for key, stream in self._streams.items() if len(stream.entries) > 2]:
            return f"streams not trimmed: {long}"
        return ""

    def long(self, before_ms: int) -> list[str]:
        """Executors of whose tokens more than the last is kept that was written before then."""
        old = {
            key: [at for at in stream.entries if self.written_ms.get((key[0], at), before_ms) < before_ms]
            for key, stream in self._streams.items()
        }
        return [name for (name, _), entries in old.items() if len(entries) > 1]

    def pending(self) -> Mapping[Entry, str]:
        return {entry: str(owner) for entry, owner in self._pending.items()}

    async def drop_request(self, id: str) -> None:
        """What an engine must not do, and one without PROTOCOL 2 does: acknowledge and delete."""
        for lane in LANES:
            for at in [at for at, request in self._lanes[lane].items() if request.id == id]:
                self._drop(Entry(lane, at))

    def request_at(self, entry: Entry) -> str:
        return self._lanes[entry.lane][entry.id].id

    def top(self, name: str, shard: int) -> StreamId | None:
        stream = self._streams.get((name, shard))
        return stream.top if stream else None


def _copied(value: Any) -> Any:
    """Frozen values may be shared, containers not."""
    if isinstance(value, Stream):
        return Stream(value.top, dict(value.entries))
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return set(value) if isinstance(value, set) else value
