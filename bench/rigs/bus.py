"""A bus in memory whose token streams are bytes, as in Redis: written and read by the production verbs and codec.

All else is `MemoryBus`. What was read is gone, so nothing grows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.rigs.still import News
from shared.bus import Executor, Step, StreamId
from shared.memory_bus import MemoryBus
from shared.messages import Control, Record
from shared.redis_bus import RedisBus
from shared.redis_link import RedisLink, Rows

MODEL = "rig"


class MemoryLink(RedisLink):
    """A Redis that knows XADD and XREAD, and counts."""

    def __init__(self) -> None:
        self.commands = 0
        self.bytes = 0  # of the entries written
        self.written = News()
        self._rows: dict[str, Rows] = {}

    async def ask(self, *command: Any) -> bytes:
        verb, key, _, at, _, data = command
        assert verb == "XADD", f"a step asks Redis for {verb}, which this one does not know"
        self.commands += 1
        self.bytes += len(data)
        self.put(key, at, data)
        return bytes(at.encode())

    def put(self, key: str, at: str, data: bytes) -> None:
        """An entry that somebody else has written."""
        self._rows.setdefault(key, []).append((at.encode(), {b"data": data}))
        self.written.tell()

    async def read(
        self,
        streams: Sequence[str],
        after: Sequence[str],
        wait_s: float,
        count: int = 256,
        group: tuple[str, str] | None = None,
    ) -> dict[str, Rows]:
        self.commands += 1
        await self.written.until(lambda: any(key in self._rows for key in streams))
        return {key: self._rows.pop(key) for key in streams if key in self._rows}

    def forget(self) -> None:
        """What nobody reads."""
        self._rows.clear()


class MeteredBus(MemoryBus):
    """`link` knows what steps cost it; `verbs` counts `append` and `read`."""

    def __init__(self) -> None:
        super().__init__()
        self.link = MemoryLink()
        self.verbs = 0
        self._redis = RedisBus(self.link, MODEL, 600_000)

    async def append(self, executor: Executor, shard: int, step: int, records: Sequence[Record]) -> None:
        self.verbs += 1
        await self._redis.append(executor, shard, step, records)

    async def read(
        self, shard: int, cursors: Mapping[str, StreamId], control: StreamId, wait_s: float
    ) -> tuple[list[Step], list[tuple[StreamId, Control]]]:
        self.verbs += 1
        return await self._redis.read(shard, cursors, control, wait_s)
