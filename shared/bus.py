"""The bus as services see it: the verbs of docs/protocol.md, each atomic, none of them Redis's own.

One contract, two implementations: `redis_bus.py` for life, `memory_bus.py` for tests; `tests/bus` runs the same tests
on both. All verbs may raise `BusDown` when the bus cannot be reached; then whether a write happened is unknown, and
every write here may be repeated: repeating it changes nothing (PROTOCOL 1, 3, 4).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from shared.messages import Control, EngineStatus, GenerateRequest, Outcome, Record, ShardStatus
from shared.types import Lane, ParentId, RequestId


class BusDown(Exception):
    """The bus did not answer. What was asked may have happened or not; ask again."""


class Fenced(Exception):
    """Somebody has ended this executor: it must drop all it holds and be born again (PROTOCOL 1)."""


class Retired(Exception):
    """Another instance owns the shard now (PROTOCOL 3)."""


class StreamId(NamedTuple):
    """A stream entry's id, ordered: "<major>-<minor>"."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}-{self.minor}"

    @classmethod
    def parse(cls, text: str) -> "StreamId":
        major, _, minor = text.partition("-")
        return cls(int(major), int(minor))


ZERO = StreamId(0, 0)


class Entry(NamedTuple):
    """Where a request lies: ids are unique within a lane's stream only."""

    lane: Lane
    id: StreamId


class Executor(NamedTuple):
    """One boot of an engine; never repeats and never goes back."""

    engine: str
    boot: int

    def __str__(self) -> str:
        return f"{self.engine}.{self.boot}"

    @classmethod
    def parse(cls, text: str) -> "Executor":
        engine, _, boot = text.rpartition(".")
        return cls(engine, int(boot))


class Version(NamedTuple):
    """Who owns a shard, and how often they wrote."""

    nonce: str
    counter: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """An entry of a requests stream, given to an executor."""

    entry: Entry
    request: GenerateRequest


class Step(NamedTuple):
    """An entry of a token stream."""

    executor: str
    id: StreamId
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """A request taken out of the requests stream for good, and its outcome (PROTOCOL 5)."""

    entry: Entry
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Moved:
    """A request taken from its entry and queued again as `request`, which carries what was accepted (PROTOCOL 6)."""

    entry: Entry
    request: GenerateRequest


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one shard's owner needs to know before it decides anything; one atomic read."""

    version: Version
    entries: Mapping[Entry, GenerateRequest]  # of this shard, both lanes
    executors: frozenset[str]  # whose streams may exist
    leases: frozenset[str]  # executors that are alive
    pending: Mapping[Entry, str]  # entries of this shard that were given out, and the executor each was given to


class Bus(Protocol):
    # ---- gateways
    async def submit(self, parent: ParentId, requests: Sequence[GenerateRequest]) -> bool:
        """Queue all choices of one client request, once: False if that was done before."""
        ...

    async def cancel(self, request: RequestId | ParentId, reason: str) -> None: ...

    async def engines(self) -> list[EngineStatus]:
        """All engines that are alive, loading ones too."""
        ...

    async def shards(self, count: int) -> list[ShardStatus | None]:
        """The owners of shards 0..count-1; None where there is none."""
        ...

    # ---- engines
    async def next_boot(self, engine: str) -> Executor: ...

    async def announce_engine(self, status: EngineStatus, ttl_ms: int) -> None:
        """Renew the lease of the executor `status.name`."""
        ...

    async def birth(self, executor: Executor, shards: int) -> None:
        """Create the consumer group and this executor's token streams, and tell the owners (PROTOCOL 1)."""
        ...

    async def take(self, executor: Executor, count: int, wait_s: float) -> list[Delivery]:
        """At most `count` new requests, interactive ones first; waits up to `wait_s` for the first."""
        ...

    async def held(self, executor: Executor) -> list[Delivery]:
        """Everything that was ever given to this executor and is not settled (PROTOCOL 9)."""
        ...

    async def append(self, executor: Executor, shard: int, step: int, records: Sequence[Record]) -> None:
        """Write entry `<boot>-<step>` of the token stream. Raises Fenced."""
        ...

    async def leave(self, executor: Executor, shards: int) -> None:
        """Drain: a tombstone in each of its own streams, and no lease any more (PROTOCOL 7)."""
        ...

    # ---- owners of shards
    async def announce_shard(self, status: ShardStatus, ttl_ms: int) -> None: ...

    async def claim(self, shard: int, nonce: str) -> Version:
        """Become the owner, whoever was it before."""
        ...

    async def snapshot(self, shard: int) -> Snapshot: ...

    async def read(
        self, shard: int, cursors: Mapping[str, StreamId], control: StreamId, wait_s: float
    ) -> tuple[list[Step], list[tuple[StreamId, Control]]]:
        """What follows the cursors in these executors' streams for `shard`, and in the control stream."""
        ...

    async def settle(self, shard: int, version: Version, settled: Sequence[Settled]) -> Version:
        """Take requests out with their outcomes, as the owner of `version`. Raises Retired."""
        ...

    async def move(self, shard: int, version: Version, moved: Sequence[Moved]) -> Version:
        """Queue requests again, as the owner of `version`. Raises Retired."""
        ...

    async def fence(self, executor: str, shard: int) -> StreamId | None:
        """End this executor's stream for `shard`: the id behind which nothing will come. None: there is no stream."""
        ...

    async def bury(self, executor: str, shard: int, shards: int) -> None:
        """Forget a fenced executor that this shard needs no more: its stream, and with the last of them its name."""
        ...

    async def trim(self, shard: int, below: Mapping[str, StreamId]) -> None:
        """Forget what lies below these ids in these executors' streams for `shard` (PROTOCOL 13)."""
        ...

    async def outcome(self, request: RequestId) -> Outcome | None: ...

    # ---- engines and owners
    async def control(self, after: StreamId, wait_s: float) -> list[tuple[StreamId, Control]]: ...

    async def control_end(self) -> StreamId:
        """The id of the newest control message: who starts there misses only what is past."""
        ...

    async def now_ms(self) -> int:
        """The bus's clock; deadlines are told in it."""
        ...

    async def close(self) -> None: ...
