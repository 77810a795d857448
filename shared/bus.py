"""The bus as services see it: the verbs of docs/protocol.md, each atomic, none of them Redis's own.

One contract, two implementations: `redis_bus.py` for life, `memory_bus.py` for tests; `tests/bus` runs the same tests
on both. All verbs may raise `BusDown` when the bus cannot be reached; then whether a write happened is unknown, and
every write here may be repeated: repeating it changes nothing (PROTOCOL 1, 3, 4).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

from shared.addresses import ZERO as ZERO
from shared.addresses import Entry as Entry
from shared.addresses import Executor as Executor
from shared.addresses import StreamId as StreamId
from shared.messages import (
    Checkpoint,
    Control,
    EngineStatus,
    GatewayStatus,
    GenerateRequest,
    Outcome,
    Record,
    ShardStatus,
)
from shared.types import LANES, Lane, ParentId, RequestId


class BusDown(Exception):
    """The bus did not answer. What was asked may have happened or not; ask again."""


class Fenced(Exception):
    """Somebody has ended this executor: it must drop all it holds and be born again (PROTOCOL 1)."""


class Retired(Exception):
    """Another instance owns the shard now (PROTOCOL 3)."""


class Rewound(Exception):
    """The bus came back with another memory, perhaps an older one: all must say what they know (PROTOCOL 10)."""


BEGINNING: Mapping[Lane, StreamId] = MappingProxyType(dict.fromkeys(LANES, ZERO))
PAGE = 256  # entries of a lane in one snapshot


class Version(NamedTuple):
    """Who owns a shard, and how often they wrote."""

    nonce: str
    counter: int


class Holder(NamedTuple):
    """Who has an idempotency key: the client's request, and a digest of what it asks for."""

    parent: ParentId
    digest: str


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
    at_ms: float = 0.0  # unix time at which it was written, by its writer's clock; 0: not known. Decides nothing


@dataclass(frozen=True, slots=True)
class Settled:
    """A request taken out of the requests stream for good, and its outcome (PROTOCOL 5)."""

    entry: Entry | None  # None: it is in no stream any more; only its outcome is written
    outcome: Outcome
    dead: GenerateRequest | None = None  # given up: kept for people, whole


@dataclass(frozen=True, slots=True)
class Moved:
    """A request taken from its entry and queued again as `request`, which carries what was accepted (PROTOCOL 6)."""

    entry: Entry
    request: GenerateRequest


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one shard's owner needs to know before it decides anything; one atomic read."""

    version: Version
    entries: Mapping[Entry, GenerateRequest]  # of this shard, both lanes; those that were asked for
    elsewhere: Mapping[Entry, int | None]  # of what else was read: whose shard it is, None if it cannot be read
    executors: frozenset[str]  # whose streams may exist
    leases: frozenset[str]  # executors that are alive
    pending: Mapping[Entry, str]  # entries that were given out, of all shards, and the executor each was given to
    delivered: Mapping[Lane, StreamId]  # all entries up to here were given out; `pending` is complete up to here
    read: Mapping[Lane, StreamId]  # `entries` is complete up to here; ask for what follows
    complete: bool  # and nothing follows
    memory: str  # see `Bus.memory`
    uptime_s: float  # since the bus was started


class Bus(Protocol):
    # ---- gateways
    async def submit(self, parent: ParentId, requests: Sequence[GenerateRequest]) -> bool:
        """Queue all choices of one client request, once: False if that was done before."""
        ...

    async def submit_as(
        self, key: str, holder: Holder, requests: Sequence[GenerateRequest], keep_ms: int, after: ParentId = ""
    ) -> Holder:
        """The same under an idempotency key, which is kept for `keep_ms`: nothing is queued if somebody else than
        `after` has it. Who has it now."""
        ...

    async def holder(self, key: str) -> Holder | None:
        """Who has this idempotency key."""
        ...

    async def cancel(self, request: RequestId | ParentId, reason: str) -> None: ...

    async def backlog(self) -> int:
        """How many requests lie in the lanes: those that wait, and those that run and are not settled."""
        ...

    async def announce_gateway(self, status: GatewayStatus, ttl_ms: int) -> None: ...

    async def gateways(self) -> list[GatewayStatus]:
        """All gateways that are alive."""
        ...

    async def engines(self) -> list[EngineStatus]:
        """All engines that are alive, loading ones too."""
        ...

    async def shards(self, count: int) -> list[ShardStatus | None]:
        """The owners of shards 0..count-1; None where there is none."""
        ...

    # ---- engines
    async def next_boot(self, engine: str, above: int = 0) -> Executor:
        """`above`: the last boot this process knows of; a bus that came back older does not."""
        ...

    async def announce_engine(self, status: EngineStatus, ttl_ms: int) -> None:
        """Renew the lease of the executor `status.name`."""
        ...

    async def birth(self, executor: Executor, shards: int) -> None:
        """Create the consumer group and this executor's token streams, and tell the owners (PROTOCOL 1)."""
        ...

    async def take(
        self, executor: Executor, count: int, wait_s: float, lanes: Sequence[Lane] = LANES
    ) -> list[Delivery]:
        """At most `count` new requests, those of the first of these lanes first; waits up to `wait_s` for the first."""
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

    async def snapshot(self, shard: int, after: Mapping[Lane, StreamId] = BEGINNING) -> Snapshot:
        """The entries behind `after`, at most a page of each lane, and everything else."""
        ...

    async def requests(self, entries: Sequence[Entry]) -> dict[Entry, GenerateRequest]:
        """What lies there, whole; what has gone is left out."""
        ...

    async def read(
        self, shard: int, cursors: Mapping[str, StreamId], control: StreamId, wait_s: float
    ) -> tuple[list[Step], list[tuple[StreamId, Control]]]:
        """What follows the cursors in these executors' streams for `shard`, and in the control stream."""
        ...

    async def settle(self, shard: int, version: Version, settled: Sequence[Settled]) -> Version:
        """Take requests out with their outcomes, as the owner of `version`. Raises Retired."""
        ...

    async def move(
        self, shard: int, version: Version, moved: Sequence[Moved], dropped: Sequence[Entry] = ()
    ) -> Version:
        """Queue requests again, as the owner of `version`, and drop entries that have a successor. Raises Retired."""
        ...

    async def discard(self, shard: int, version: Version, entries: Sequence[Entry]) -> Version:
        """Take out entries that are nobody's, as the owner of `version`: kept for people. Raises Retired."""
        ...

    async def checkpoint(self, shard: int, version: Version, saved: Sequence[Checkpoint]) -> Version:
        """Keep how far long requests are until they are settled or moved (PROTOCOL 13). Raises Retired."""
        ...

    async def checkpoints(self, requests: Sequence[RequestId]) -> list[Checkpoint]:
        """Those of them that have one."""
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

    async def forget(self, requests: Sequence[RequestId]) -> None:
        """Outcomes that are one too many."""
        ...

    # ---- engines and owners
    async def control(self, after: StreamId, wait_s: float) -> list[tuple[StreamId, Control]]: ...

    async def control_end(self) -> StreamId:
        """The id of the newest control message: who starts there misses only what is past."""
        ...

    async def memory(self) -> str:
        """Who remembers: a new name after each start of the bus, which may have come back older (PROTOCOL 10)."""
        ...

    async def now_ms(self) -> int:
        """The bus's clock; deadlines are told in it."""
        ...

    async def close(self) -> None: ...
