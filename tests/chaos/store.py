"""A look into Redis itself, past the proxies and the bus: who may write, what was written, what is left over."""

from types import TracebackType

from redis import asyncio as redis

from shared import keys
from shared.types import LANES
from tests.chaos.cast import MODEL, Cast

READ_BEHIND = 64  # entries of a token stream that may be left: what was read last stays (PROTOCOL 13)


class Store:
    def __init__(self, cast: Cast) -> None:
        self._shards = range(len(cast.detokenizers))
        self._redis = redis.Redis.from_url(cast.redis_url, protocol=2, decode_responses=True, socket_timeout=5.0)

    async def __aenter__(self) -> "Store":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._redis.aclose()

    async def executor(self, engine: str) -> str:
        """The newest boot of an engine that has a lease; "" if none has."""
        members = await self._redis.execute_command("SMEMBERS", keys.executors(MODEL))
        boots = [name for name in members if name.startswith(f"{engine}.")]
        living = [name for name in boots if await self._redis.execute_command("EXISTS", keys.engine_lease(name))]
        return max(living, key=lambda name: int(name.rpartition(".")[2]), default="")

    async def tops(self, executor: str) -> dict[int, str]:
        """Of each shard whose stream of this executor exists: the id of the last entry ever written."""
        found = {}
        for shard in self._shards:
            key = keys.tokens(MODEL, executor, shard)
            if await self._redis.execute_command("EXISTS", key):
                info = await self._redis.execute_command("XINFO", "STREAM", key)
                found[shard] = info["last-generated-id"]
        return found

    async def leftovers(self) -> list[str]:
        """What is still there and should not be once no client waits for anything."""
        found = []
        for lane in LANES:
            key = keys.requests(MODEL, lane)
            if queued := await self._redis.execute_command("XLEN", key):
                found.append(f"{queued} entries in {key}")
            if pending := (await self._redis.execute_command("XPENDING", key, keys.GROUP))["pending"]:
                found.append(f"{pending} entries of {key} pending")
        for executor in await self._redis.execute_command("SMEMBERS", keys.executors(MODEL)):
            if not await self._redis.execute_command("EXISTS", keys.engine_lease(executor)):
                found.append(f"{executor} is dead and not buried")
            for shard in self._shards:
                key = keys.tokens(MODEL, executor, shard)
                if (length := await self._redis.execute_command("XLEN", key)) > READ_BEHIND:
                    found.append(f"{length} entries in {key}")
        return found

    async def size(self) -> dict[str, int]:
        """Bytes used, the number of keys, and of the group's consumers."""
        info = await self._redis.execute_command("INFO", "memory")
        consumers = await self._redis.execute_command("XINFO", "CONSUMERS", keys.requests(MODEL, LANES[0]), keys.GROUP)
        return {
            "bytes": int(info["used_memory"]),
            "keys": int(await self._redis.execute_command("DBSIZE")),
            "consumers": len(consumers),
        }
