"""One Redis server, asked plainly. Knows connections and replies, nothing of Sluice.

What redis-py does behind our back is switched off: no automatic retries (a repeated XADD is a second entry), and
blocking reads end before the socket's timeout would cut them. Whatever breaks on the way becomes BusDown: what was
asked may have happened or not, and the caller knows whether it may be repeated.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from redis import asyncio as redis
from redis import exceptions
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from shared.bus import BusDown
from shared.errors import ConfigError

T = TypeVar("T")
Rows = list[tuple[bytes, dict[bytes, bytes]]]  # stream entries: id, fields

SOCKET_TIMEOUT_S = 5.0
LONGEST_WAIT_S = 2.0  # of a blocking read; well below the socket's timeout
MAX_CONNECTIONS = 64
UNABLE = (  # it answers, but takes nothing now
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.MasterDownError,
    exceptions.ClusterDownError,
)
PASSING = ("MISCONF", "LOADING")  # the disk is full; it is still reading
CLOSED = "the handler is closed"  # uvloop's words, in a RuntimeError, for writing to a connection that was just reset
log = logging.getLogger("sluice.redis")


class NoGroup(BusDown):
    """The engines' consumer group is not there: nobody has used this Redis, or it came back empty."""


@asynccontextmanager
async def open_link(url: str) -> AsyncIterator["RedisLink"]:
    """Raises ConfigError for a wrong URL or password; a server that does not answer yet is only logged."""
    try:
        pool = redis.BlockingConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            max_connections=MAX_CONNECTIONS,
            timeout=SOCKET_TIMEOUT_S,  # who finds all of them in use waits for one
            retry=Retry(NoBackoff(), 0),
        )
        client = redis.Redis.from_pool(pool)
    except ValueError as error:
        raise ConfigError(f"--redis-url: {error}") from None
    try:
        await client.execute_command("PING")
    except exceptions.AuthenticationError as error:
        await client.aclose()
        raise ConfigError(f"--redis-url: Redis refuses the password: {error}") from None
    except (exceptions.RedisError, OSError) as error:
        log.warning("Redis does not answer yet: %s", error)
    try:
        yield RedisLink(client)
    finally:
        await client.aclose()


class RedisLink:
    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        client.response_callbacks.pop(
            "XPENDING", None
        )  # it guesses the form of the reply; the rows are fine as they are

    async def ask(self, *command: Any) -> Any:
        """One command, one reply."""
        with _outages():
            return await self._redis.execute_command(*command)

    async def all(self, *commands: tuple[Any, ...]) -> list[Any]:
        """All or none of them, seen by others at once."""
        with _outages():
            async with self._redis.pipeline(transaction=True) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return list(await pipe.execute())

    async def guarded(self, key: str, attempt: Callable[[Pipeline], Awaitable[T]]) -> T:
        """Compare-and-set: run `attempt` while `key` is watched, again whenever somebody else wrote to it meanwhile."""
        with _outages():
            async with self._redis.pipeline(transaction=True) as pipe:
                while True:
                    try:
                        await pipe.watch(key)
                        return await attempt(pipe)
                    except exceptions.WatchError:
                        continue

    async def read(
        self,
        streams: Sequence[str],
        after: Sequence[str],
        wait_s: float,
        count: int = 256,
        group: tuple[str, str] | None = None,
    ) -> dict[str, Rows]:
        """XREAD, or XREADGROUP as (group, consumer): at most `count` entries a stream; waits up to LONGEST_WAIT_S."""
        verb = ("XREADGROUP", "GROUP", *group) if group else ("XREAD",)
        block = ("BLOCK", max(1, int(min(wait_s, LONGEST_WAIT_S) * 1000))) if wait_s > 0 else ()
        replies = await self.ask(*verb, "COUNT", count, *block, "STREAMS", *streams, *after)
        return {key.decode(): rows for key, rows in replies or ()}

    async def close(self) -> None:
        await self._redis.aclose()


@contextmanager
def _outages() -> Iterator[None]:
    """Around what awaits redis-py. It sends within `asyncio.wait_for`, and Python 3.11's returns a result that arrives
    together with a cancellation as if there were none: a task that then goes on would never end (cpython 86296)."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
        raise BusDown(str(error) or type(error).__name__) from error
    except exceptions.ResponseError as error:
        if "NOGROUP" in str(error):
            raise NoGroup(str(error)) from error
        if isinstance(error, UNABLE) or any(word in str(error) for word in PASSING):
            raise BusDown(str(error)) from error
        raise
    except RuntimeError as error:
        if CLOSED not in str(error):
            raise
        raise BusDown("the connection was reset") from error
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError
