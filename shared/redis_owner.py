"""The verbs of a shard's owner, in Redis's words. `RedisBus` is made of these and those of engines and gateways."""

from collections.abc import Mapping, Sequence

from redis import exceptions

from shared import codec, keys
from shared.bus import (
    BEGINNING,
    PAGE,
    Delivery,
    Entry,
    Executor,
    Moved,
    Retired,
    Settled,
    Snapshot,
    Step,
    StreamId,
    Version,
)
from shared.messages import Checkpoint, Control, GenerateRequest, Outcome, ShardStatus, Tombstone
from shared.redis_link import Command, NoGroup, RedisLink
from shared.redis_rows import (
    controls,
    delivered,
    deliveries,
    is_executor,
    last_id,
    names,
    parse_version,
    pendings,
    readable,
    request_at,
    step,
    too_small,
)
from shared.types import LANES, Lane, RequestId

MOST_PENDING = 10_000  # entries of a lane that engines hold, seen in one look
MOST_DEAD = 100  # requests that were given up
MOST_RAW = 64 * 1024  # bytes kept of one that cannot be read


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

    async def snapshot(self, shard: int, after: Mapping[Lane, StreamId] = BEGINNING) -> Snapshot:
        look = (
            ("GET", keys.shard_version(self._model, shard)),
            ("SMEMBERS", keys.executors(self._model)),
            ("INFO", "server"),
            *(("XRANGE", key, f"({after[lane]}", "+", "COUNT", PAGE) for key, lane in self._lane_keys.items()),
            *(("XPENDING", key, keys.GROUP, "-", "+", MOST_PENDING) for key in self._lane_keys),
            *(("XINFO", "GROUPS", key) for key in self._lane_keys),
        )
        try:
            version, members, info, *rest = await self._link.all(*look)
        except NoGroup:  # no engine was ever here
            await create_groups(self._link, self._model)
            version, members, info, *rest = await self._link.all(*look)
        lanes = len(LANES)
        pages, given, groups = (dict(zip(LANES, rest[i * lanes :][:lanes], strict=True)) for i in range(3))
        pending = {Entry(lane, at): name for lane, rows in given.items() for at, name in pendings(rows)}
        executors = names(members)
        everybody = sorted(executors.union(pending.values()))  # asked for last: who took anything has a lease by then
        alive = await self._link.all(*(("EXISTS", keys.engine_lease(name)) for name in everybody))
        read = [request_at(lane, at, fields) for lane, rows in pages.items() for at, fields in rows]
        found = [one for one in read if isinstance(one, Delivery)]
        return Snapshot(
            version=parse_version(version),
            entries={one.entry: one.request for one in found if one.request.shard == shard},
            elsewhere={one.entry: one.request.shard for one in found if one.request.shard != shard}
            | {one: None for one in read if isinstance(one, Entry)},
            executors=executors,
            leases=frozenset(name for name, there in zip(everybody, alive, strict=True) if there),
            pending=pending,
            delivered={lane: delivered(groups[lane], rows, MOST_PENDING) for lane, rows in given.items()},
            read={lane: last_id(rows) or after[lane] for lane, rows in pages.items()},
            complete=all(len(rows) < PAGE for rows in pages.values()),
            memory=str(info["run_id"]),
            uptime_s=float(info["uptime_in_seconds"]),
        )

    async def requests(self, entries: Sequence[Entry]) -> dict[Entry, GenerateRequest]:
        found: dict[Entry, GenerateRequest] = {}
        for start in range(0, len(entries), PAGE):
            some = entries[start : start + PAGE]
            places = [(keys.requests(self._model, entry.lane), str(entry.id)) for entry in some]
            replies = await self._link.all(*(("XRANGE", key, at, at) for key, at in places))
            for entry, rows in zip(some, replies, strict=True):
                found |= {delivery.entry: delivery.request for delivery in deliveries(entry.lane, rows)}
        return found

    async def read(
        self, shard: int, cursors: Mapping[str, StreamId], control: StreamId, wait_s: float
    ) -> tuple[list[Step], list[tuple[StreamId, Control]]]:
        names = {keys.tokens(self._model, name, shard): name for name in cursors}
        after = [str(cursor) for cursor in cursors.values()]
        replies = await self._link.read([*names, keys.control(self._model)], [*after, str(control)], wait_s)
        news = controls(replies.pop(keys.control(self._model), []))
        return [step(names[key], at, fields) for key, rows in replies.items() for at, fields in rows], news

    async def settle(self, shard: int, version: Version, settled: Sequence[Settled]) -> Version:
        commands: list[Command] = []
        for one in settled:
            request = one.outcome.request
            if one.entry:
                commands += self._dropped(one.entry)
            outcome = codec.encode_outcome(one.outcome)
            commands += [
                ("SET", keys.done(self._model, request.id), outcome, "PX", self._retention_ms),
                ("DEL", keys.session(self._model, request.id)),
                ("PEXPIRE", keys.submitted(self._model, request.parent_id), self._retention_ms),
            ]
            if one.dead:
                commands.append(self._buried("data", codec.encode_request(one.dead), one.outcome.detail))
        return await self._as_owner(shard, version, commands)

    async def move(
        self, shard: int, version: Version, moved: Sequence[Moved], dropped: Sequence[Entry] = ()
    ) -> Version:
        commands: list[Command] = []
        for one in moved:
            stream = keys.requests(self._model, one.request.lane)
            commands += [
                *self._dropped(one.entry),
                ("XADD", stream, "*", "data", codec.encode_request(one.request)),
                ("DEL", keys.session(self._model, one.request.id)),
            ]
        for entry in dropped:
            commands += self._dropped(entry)
        return await self._as_owner(shard, version, commands)

    async def discard(self, shard: int, version: Version, entries: Sequence[Entry]) -> Version:
        places = [(keys.requests(self._model, entry.lane), str(entry.id)) for entry in entries]
        found = await self._link.all(*(("XRANGE", key, at, at) for key, at in places)) if places else []
        commands: list[Command] = []
        for entry, rows in zip(entries, found, strict=True):
            commands += self._dropped(entry)
            for _, fields in rows:
                raw = b" ".join(part for pair in fields.items() for part in pair)[:MOST_RAW]
                commands.append(self._buried("raw", raw, "it cannot be read, or its shard does not exist"))
        return await self._as_owner(shard, version, commands)

    async def checkpoint(self, shard: int, version: Version, saved: Sequence[Checkpoint]) -> Version:
        places = (keys.session(self._model, one.started.request.id) for one in saved)
        commands = [("SET", key, codec.encode_checkpoint(one)) for key, one in zip(places, saved, strict=True)]
        return await self._as_owner(shard, version, commands)

    async def checkpoints(self, requests: Sequence[RequestId]) -> list[Checkpoint]:
        found: list[Checkpoint] = []
        for start in range(0, len(requests), PAGE):
            places = (keys.session(self._model, id) for id in requests[start : start + PAGE])
            saved = readable(codec.decode_checkpoint, await self._link.ask("MGET", *places))
            found += [one for one in saved if one]
        return found

    async def fence(self, executor: str, shard: int) -> StreamId | None:
        if not is_executor(executor):
            return None
        key = keys.tokens(self._model, executor, shard)
        return await end_stream(self._link, key, Executor.parse(executor), drained=False)

    async def bury(self, executor: str, shard: int, shards: int) -> None:
        streams = [keys.tokens(self._model, executor, other) for other in range(shards)]
        await self._link.ask("DEL", streams[shard])
        if not await self._link.ask("EXISTS", *streams):
            await self._forget_consumer(executor)
            await self._link.ask("SREM", keys.executors(self._model), executor)

    async def trim(self, shard: int, below: Mapping[str, StreamId]) -> None:
        if below:
            streams = {keys.tokens(self._model, name, shard): least for name, least in below.items()}
            await self._link.all(*(("XTRIM", key, "MINID", str(least)) for key, least in streams.items()))

    async def outcome(self, request: RequestId) -> Outcome | None:
        [outcome] = readable(codec.decode_outcome, [await self._link.ask("GET", keys.done(self._model, request))])
        return outcome

    async def forget(self, requests: Sequence[RequestId]) -> None:
        if requests:
            await self._link.ask("DEL", *(keys.done(self._model, id) for id in requests))

    async def _as_owner(self, shard: int, version: Version, commands: Sequence[Command]) -> Version:
        """One EXEC under WATCH on the shard's version, which it moves on (PROTOCOL 3)."""
        key, after = keys.shard_version(self._model, shard), Version(version.nonce, version.counter + 1)

        def decide(held: bytes | None) -> tuple[Version, Sequence[Command]]:
            now = parse_version(held)
            if now == after:
                return after, ()  # done before, the reply was lost
            if now != version:
                raise Retired(f"shard {shard} belongs to {now}")
            return after, [("SET", key, f"{after.nonce}:{after.counter}"), *commands]

        return await self._link.guarded(key, [("GET", key)], decide)

    async def _forget_consumer(self, executor: str) -> None:
        """Where nothing is pending: deleting a consumer drops that. What a zombie is given between the two commands is
        pending under nobody then, and its owner moves it on (PROTOCOL 9)."""
        for key in self._lane_keys:
            if not await self._link.ask("XPENDING", key, keys.GROUP, "-", "+", 1, executor):
                await self._link.ask("XGROUP", "DELCONSUMER", key, keys.GROUP, executor)

    def _dropped(self, entry: Entry) -> list[Command]:
        stream, at = keys.requests(self._model, entry.lane), str(entry.id)
        return [("XACK", stream, keys.GROUP, at), ("XDEL", stream, at)]

    def _buried(self, kind: str, data: bytes, why: str) -> Command:
        """For people."""
        return ("XADD", keys.dead(self._model), "MAXLEN", MOST_DEAD, "*", kind, data, "why", why)


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
