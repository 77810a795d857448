"""The bus over Redis streams (6.2 is enough): PROTOCOL's verbs in Redis's words.

`redis_link.py` beside it asks the server and turns whatever breaks on the way into BusDown.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from redis import exceptions

from shared import codec, keys
from shared.bus import Delivery, Executor, Fenced, Holder, StreamId
from shared.messages import Born, Cancel, Control, EngineStatus, GatewayStatus, GenerateRequest, Record, ShardStatus
from shared.redis_link import Command, Rows, open_link
from shared.redis_owner import OwnerVerbs, create_groups, end_stream
from shared.redis_rows import controls, deliveries, names, parse_holder, readable, too_small
from shared.types import LANES, Lane, ParentId, RequestId

GUARD_MS = 86_400_000  # a request that is not settled for longer could be submitted twice
BOOT_MS = 86_400_000  # Redis's clock is above any boot that old
CONTROL_LENGTH = 10_000  # messages kept; PROTOCOL 12 makes longer retention needless
HISTORY_COUNT = 100  # pending entries per read


@asynccontextmanager
async def connect(url: str, model: str, retention_s: float = 600.0) -> AsyncIterator["RedisBus"]:
    """The bus at `url` for the served name `model`; finished answers are kept for `retention_s`.

    Raises ConfigError for a wrong URL or password. An unreachable server is none: verbs raise BusDown until it answers.
    """
    async with open_link(url) as link:
        yield RedisBus(link, model, int(retention_s * 1000))


class RedisBus(OwnerVerbs):
    """Implements `shared.bus.Bus`; see there for what the verbs promise."""

    # ---- gateways
    async def submit(self, parent: ParentId, requests: Sequence[GenerateRequest]) -> bool:
        guard = keys.submitted(self._model, parent)
        mark = ("SET", guard, b"1", "PX", GUARD_MS)

        def once(done: int) -> tuple[bool, Sequence[Command]]:
            return (False, ()) if done else (True, [mark, *self._queued(requests)])

        return await self._link.guarded(guard, [("EXISTS", guard)], once)

    async def submit_as(
        self, key: str, holder: Holder, requests: Sequence[GenerateRequest], keep_ms: int, after: ParentId = ""
    ) -> Holder:
        guard = keys.idempotency(self._model, key)
        mark = ("SET", guard, ":".join(holder), "PX", keep_ms)

        def once(held: bytes | None) -> tuple[Holder, Sequence[Command]]:
            now = parse_holder(held)
            taken = now is not None and now.parent != after
            return (now, ()) if now and taken else (holder, [mark, *self._queued(requests)])

        return await self._link.guarded(guard, [("GET", guard)], once)

    async def holder(self, key: str) -> Holder | None:
        return parse_holder(await self._link.ask("GET", keys.idempotency(self._model, key)))

    async def cancel(self, request: RequestId | ParentId, reason: str) -> None:
        await self._say(Cancel(request, reason))

    async def backlog(self) -> int:
        return sum(await self._link.all(*(("XLEN", keys.requests(self._model, lane)) for lane in LANES)))

    async def announce_gateway(self, status: GatewayStatus, ttl_ms: int) -> None:
        lease = ("SET", keys.gateway_lease(self._model, status.name), codec.encode_status(status), "PX", ttl_ms)
        await self._link.all(("SADD", keys.gateways(self._model), status.name), lease)

    async def gateways(self) -> list[GatewayStatus]:
        """Names without a lease go: each process has one of its own. Who lives says its name again within a second."""
        known = sorted(await self._link.ask("SMEMBERS", keys.gateways(self._model)))
        leases = [keys.gateway_lease(self._model, name.decode(errors="replace")) for name in known]
        found = await self._link.ask("MGET", *leases) if known else []
        if gone := [name for name, lease in zip(known, found, strict=True) if lease is None]:
            await self._link.ask("SREM", keys.gateways(self._model), *gone)
        return [one for one in readable(partial(codec.decode_status, GatewayStatus), found) if one]

    async def engines(self) -> list[EngineStatus]:
        executors = sorted(names(await self._link.ask("SMEMBERS", keys.executors(self._model))))
        leases = await self._link.ask("MGET", *map(keys.engine_lease, executors)) if executors else []
        return [one for one in readable(partial(codec.decode_status, EngineStatus), leases) if one]

    async def shards(self, count: int) -> list[ShardStatus | None]:
        leases = await self._link.ask("MGET", *(keys.shard_lease(self._model, shard) for shard in range(count)))
        return readable(partial(codec.decode_status, ShardStatus), leases)

    # ---- engines
    async def next_boot(self, engine: str, above: int = 0) -> Executor:
        key = keys.boot(engine)

        def bump(clock: tuple[int, int], last: bytes | None) -> tuple[Executor, Sequence[Command]]:
            boot = max(int(last or 0) + 1, int(clock[0]), above + 1)
            return Executor(engine, boot), [("SET", key, boot, "PX", BOOT_MS)]

        return await self._link.guarded(key, [("TIME",), ("GET", key)], bump)

    async def announce_engine(self, status: EngineStatus, ttl_ms: int) -> None:
        lease = ("SET", keys.engine_lease(status.name), codec.encode_status(status), "PX", ttl_ms)
        await self._link.all(("SADD", keys.executors(self._model), status.name), lease)

    async def birth(self, executor: Executor, shards: int) -> None:
        await create_groups(self._link, self._model)
        for shard in range(shards):
            try:
                await self._link.ask("XADD", self._tokens(executor, shard), f"{executor.boot}-0", "data", b"{}")
            except exceptions.ResponseError as error:
                if not too_small(error):
                    raise
        await self._link.ask("SADD", keys.executors(self._model), str(executor))
        await self._say(Born(str(executor)))

    async def take(
        self, executor: Executor, count: int, wait_s: float, lanes: Sequence[Lane] = LANES
    ) -> list[Delivery]:
        taken: list[Delivery] = []
        for lane in lanes:  # never more than `count`
            if len(taken) < count:
                taken += await self._read_group(executor, [lane], count - len(taken), 0.0)
        return taken or await self._read_group(executor, lanes, max(1, count // len(lanes)), wait_s)

    async def held(self, executor: Executor) -> list[Delivery]:
        found: list[Delivery] = []
        for lane in LANES:
            after = "0"
            while rows := await self._history(executor, lane, after):
                after = rows[-1][0].decode()
                found += deliveries(lane, rows)
        return found

    async def append(self, executor: Executor, shard: int, step: int, records: Sequence[Record]) -> None:
        key, at = self._tokens(executor, shard), f"{executor.boot}-{step}"
        data = codec.encode_records(records, time.time() * 1000)
        try:
            written = await self._link.ask("XADD", key, "NOMKSTREAM", at, "data", data)
        except exceptions.ResponseError as error:
            if not too_small(error):
                raise
            top = await self._link.ask("XREVRANGE", key, "+", "-", "COUNT", 1)
            if top and top[0][0] == at.encode() and codec.same_records(top[0][1].get(b"data", b""), data):
                return  # written before, the reply was lost
            raise Fenced(f"{executor} may not write {at} to shard {shard}") from None
        if written is None:
            raise Fenced(f"{executor} has no stream for shard {shard}")

    async def leave(self, executor: Executor, shards: int) -> None:
        for shard in range(shards):
            await end_stream(self._link, self._tokens(executor, shard), executor, drained=True)
        await self._link.ask("DEL", keys.engine_lease(str(executor)))

    # ---- engines and owners
    async def control(self, after: StreamId, wait_s: float) -> list[tuple[StreamId, Control]]:
        key = keys.control(self._model)
        return controls((await self._link.read([key], [str(after)], wait_s)).get(key, []))

    async def control_end(self) -> StreamId:
        top = await self._link.ask("XREVRANGE", keys.control(self._model), "+", "-", "COUNT", 1)
        return StreamId.parse(top[0][0].decode()) if top else StreamId(0, 0)

    async def memory(self) -> str:
        return str((await self._link.ask("INFO", "server"))["run_id"])

    async def now_ms(self) -> int:
        seconds, micros = await self._link.ask("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    async def close(self) -> None:
        await self._link.close()

    def _queued(self, requests: Sequence[GenerateRequest]) -> list[Command]:
        return [
            ("XADD", keys.requests(self._model, request.lane), "*", "data", codec.encode_request(request))
            for request in requests
        ]

    async def _say(self, message: Control) -> None:
        data = codec.encode_control(message)
        await self._link.ask("XADD", keys.control(self._model), "MAXLEN", "~", CONTROL_LENGTH, "*", "data", data)

    def _tokens(self, executor: Executor, shard: int) -> str:
        return keys.tokens(self._model, str(executor), shard)

    async def _read_group(self, executor: Executor, lanes: Sequence[Lane], count: int, wait_s: float) -> list[Delivery]:
        streams = [keys.requests(self._model, lane) for lane in lanes]
        replies = await self._link.read(streams, [">"] * len(lanes), wait_s, count, (keys.GROUP, str(executor)))
        return [d for key, rows in replies.items() for d in deliveries(self._lane_keys[key], rows)]

    async def _history(self, executor: Executor, lane: Lane, after: str) -> Rows:
        """This executor's own pending entries behind `after`; what was deleted meanwhile comes without fields."""
        key = keys.requests(self._model, lane)
        replies = await self._link.read([key], [after], 0.0, HISTORY_COUNT, (keys.GROUP, str(executor)))
        return replies.get(key, [])
