"""The verbs of a shard's owner, in Redis's words. `RedisBus` is made of these and those of engines and gateways."""

from collections.abc import Callable, Mapping, Sequence

from redis import exceptions
from redis.asyncio.client import Pipeline

from shared import codec, keys
from shared.bus import Entry, Executor, Moved, Retired, Settled, Snapshot, Step, StreamId, Version
from shared.messages import Control, Outcome, ShardStatus, Tombstone
from shared.redis_link import RedisLink
from shared.redis_rows import controls, deliveries, parse_version, records, too_small
from shared.types import LANES, RequestId

MOST_PENDING = 10_000  # entries of a lane that engines hold, seen in one look


class OwnerVerbs:
    def __init__(self, link: RedisLink, model: str, retention_ms: int) -> None:
        self._link = link
        self._model = model
        self._retention_ms = retention_ms
        self._lane_keys = {keys.requests(model, lane): lane for lane in LANES}

    async def announce_shard(self, status: ShardStatus, ttl_ms: int) -> None:
        key = keys.shard_lease(self._model, status.shard)
        await self._link.ask("SET", key, codec.encode_status(status), "PX", ttl_ms)

    async def claim(self, shard: int, nonce: str) -> Version:
        await create_groups(self._link, self._model)
        await self._link.ask("SET", keys.shard_version(self._model, shard), f"{nonce}:0")
        return Version(nonce, 0)

    async def snapshot(self, shard: int) -> Snapshot:
        version, members, *rest = await self._link.all(
            ("GET", keys.shard_version(self._model, shard)),
            ("SMEMBERS", keys.executors(self._model)),
            *(("XRANGE", key, "-", "+") for key in self._lane_keys),
            *(("XPENDING", key, keys.GROUP, "-", "+", MOST_PENDING) for key in self._lane_keys),
        )
        queued, given = rest[: len(LANES)], rest[len(LANES) :]
        entries = {
            delivery.entry: delivery.request
            for lane, rows in zip(LANES, queued, strict=True)
            for delivery in deliveries(lane, rows)
            if delivery.request.shard == shard
        }
        pending = {
            entry: owner.decode()
            for lane, rows in zip(LANES, given, strict=True)
            for at, owner, *_ in rows
            if (entry := Entry(lane, StreamId.parse(at.decode()))) in entries
        }
        executors = frozenset(name.decode() for name in members)
        names = sorted(executors.union(pending.values()))  # asked for last: who took anything has a lease by then
        alive = await self._link.all(*(("EXISTS", keys.engine_lease(name)) for name in names))
        leases = frozenset(name for name, there in zip(names, alive, strict=True) if there)
        return Snapshot(parse_version(version), entries, executors, leases, pending)

    async def read(
        self, shard: int, cursors: Mapping[str, StreamId], control: StreamId, wait_s: float
    ) -> tuple[list[Step], list[tuple[StreamId, Control]]]:
        names = {keys.tokens(self._model, name, shard): name for name in cursors}
        after = [str(cursor) for cursor in cursors.values()]
        replies = await self._link.read([*names, keys.control(self._model)], [*after, str(control)], wait_s)
        news = controls(replies.pop(keys.control(self._model), []))
        steps = [
            Step(names[key], StreamId.parse(at.decode()), records(at, fields))
            for key, rows in replies.items()
            for at, fields in rows
        ]
        return steps, news

    async def settle(self, shard: int, version: Version, settled: Sequence[Settled]) -> Version:
        def queue(pipe: Pipeline) -> None:
            for one in settled:
                self._drop(pipe, one.entry)
                done = keys.done(self._model, one.outcome.request.id)
                pipe.set(done, codec.encode_outcome(one.outcome), px=self._retention_ms)

        return await self._as_owner(shard, version, queue)

    async def move(self, shard: int, version: Version, moved: Sequence[Moved]) -> Version:
        def queue(pipe: Pipeline) -> None:
            for one in moved:
                self._drop(pipe, one.entry)
                stream = keys.requests(self._model, one.request.lane)
                pipe.xadd(stream, {"data": codec.encode_request(one.request)})

        return await self._as_owner(shard, version, queue)

    async def fence(self, executor: str, shard: int) -> StreamId | None:
        key = keys.tokens(self._model, executor, shard)
        return await end_stream(self._link, key, Executor.parse(executor), drained=False)

    async def bury(self, executor: str, shard: int, shards: int) -> None:
        streams = [keys.tokens(self._model, executor, other) for other in range(shards)]
        await self._link.ask("DEL", streams[shard])
        if not await self._link.ask("EXISTS", *streams):
            await self._link.ask("SREM", keys.executors(self._model), executor)

    async def trim(self, shard: int, below: Mapping[str, StreamId]) -> None:
        if below:
            streams = {keys.tokens(self._model, name, shard): least for name, least in below.items()}
            await self._link.all(*(("XTRIM", key, "MINID", str(least)) for key, least in streams.items()))

    async def outcome(self, request: RequestId) -> Outcome | None:
        data = await self._link.ask("GET", keys.done(self._model, request))
        return codec.decode_outcome(data) if data else None

    async def _as_owner(self, shard: int, version: Version, queue: Callable[[Pipeline], None]) -> Version:
        """One EXEC under WATCH on the shard's version, which it moves on (PROTOCOL 3)."""
        key, after = keys.shard_version(self._model, shard), Version(version.nonce, version.counter + 1)

        async def attempt(pipe: Pipeline) -> Version:
            now = parse_version(await pipe.get(key))
            if now == after:
                return after  # done before, the reply was lost
            if now != version:
                raise Retired(f"shard {shard} belongs to {now}")
            pipe.multi()
            pipe.set(key, f"{after.nonce}:{after.counter}")
            queue(pipe)
            await pipe.execute()
            return after

        return await self._link.guarded(key, attempt)

    def _drop(self, pipe: Pipeline, entry: Entry) -> None:
        stream = keys.requests(self._model, entry.lane)
        pipe.xack(stream, keys.GROUP, str(entry.id))
        pipe.xdel(stream, str(entry.id))


async def create_groups(link: RedisLink, model: str) -> None:
    """The engines' consumer group on each lane; who comes first makes it."""
    for lane in LANES:
        try:
            await link.ask("XGROUP", "CREATE", keys.requests(model, lane), keys.GROUP, "0", "MKSTREAM")
        except exceptions.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise


async def end_stream(link: RedisLink, key: str, executor: Executor, *, drained: bool) -> StreamId | None:
    """Write the tombstone behind which this boot can write no more; one that is there already will do."""
    marker = StreamId(executor.boot + 1, 0)
    try:
        data = codec.encode_records([Tombstone(drained)])
        written = await link.ask("XADD", key, "NOMKSTREAM", str(marker), "data", data)
    except exceptions.ResponseError as error:
        if not too_small(error):
            raise
        return marker
    return marker if written is not None else None
