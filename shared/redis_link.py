"""One Redis server, asked plainly. Knows connections and replies, nothing of Sluice.

redis-py makes the connections and knows the form of replies; its pool and its client are left out: they cost more than
Redis takes to answer, and retry behind our back (a repeated XADD is a second entry). Blocking reads end before a
connection's time is over. Whatever breaks on the way becomes BusDown: what was asked may have happened or not, and the
caller knows whether it may be repeated.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar

from redis import asyncio as redis
from redis import exceptions
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from shared.bus import BusDown
from shared.errors import ConfigError

T = TypeVar("T")
Command = tuple[Any, ...]
Rows = list[tuple[bytes, dict[bytes, bytes]]]  # stream entries: id, fields

ANSWER_S = 5.0  # for a connection that is free, if all are in use, and all that is said on it for one verb
LONGEST_WAIT_S = 2.0  # of a blocking read; well below that
MAX_CONNECTIONS = 64
UNABLE = (  # it answers, but takes nothing now
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.MasterDownError,
    exceptions.ClusterDownError,
)
UNABLE_WORDS = ("OOM", "READONLY", "MASTERDOWN", "CLUSTERDOWN")  # of the same, where they came at EXEC
PASSING = ("MISCONF", "LOADING")  # the disk is full; it is still reading
CLOSED = "the handler is closed"  # uvloop's words, in a RuntimeError, for writing to a connection that was just reset
log = logging.getLogger("sluice.redis")


class NoGroup(BusDown):
    """The engines' consumer group is not there: nobody has used this Redis, or it came back empty."""


@asynccontextmanager
async def open_link(url: str) -> AsyncIterator["RedisLink"]:
    """Raises ConfigError for a wrong URL or password; a server that does not answer yet is only logged."""
    try:
        pool = redis.ConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=None,  # one clock for all that a verb does, ANSWER_S, and no `wait_for` on the way
            socket_connect_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),
        )
        pool.connection_kwargs["socket_timeout"] = None  # a URL may say otherwise, and would win
        pool.make_connection()  # the rest of what a URL says is looked at here
    except (ValueError, TypeError, exceptions.RedisError) as error:
        raise ConfigError(f"--redis-url: {error}") from None
    link = RedisLink(pool.make_connection)
    try:
        await link.ask("PING")
    except BusDown as error:
        if isinstance(error.__cause__, exceptions.AuthenticationError):
            await link.close()
            raise ConfigError(f"--redis-url: Redis refuses the password: {error}") from None
        log.warning("Redis does not answer yet: %s", error)
    except exceptions.RedisError as error:  # it may have come to its senses when it is needed
        log.warning("Redis does not answer as it should: %s", error)
    try:
        yield link
    finally:
        await link.close()


class RedisLink:
    """`connection` makes one that is not connected yet."""

    def __init__(self, connection: Callable[[], AbstractConnection]) -> None:
        self._new = connection
        self._idle: list[AbstractConnection] = []  # the last one used comes first again
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
        self._forms = dict(redis.Redis(protocol=2).response_callbacks)  # of replies, by verb
        del self._forms["XPENDING"]  # it guesses the form of the reply; the rows are fine as they are

    async def ask(self, *command: Any) -> Any:
        """One command, one reply."""
        with _outages():
            [reply] = await self._talk(partial(_exchange, commands=[command]))
            return self._formed(command, reply)

    async def all(self, *commands: Command) -> list[Any]:
        """All or none of them, seen by others at once."""
        with _outages():
            replies = await self._talk(partial(_exchange, commands=_transaction(commands)))
            done = self._done(commands, replies)
            if done is None:
                raise BusDown("the transaction was not carried out")
            return done

    async def guarded(self, key: str, look: Sequence[Command], decide: Callable[..., tuple[T, Sequence[Command]]]) -> T:
        """Compare-and-set: `decide` makes of the replies to `look` a result and commands, which are carried out if
        nobody else has written to `key` meanwhile; else it is asked again. Without commands the result stands."""

        async def attempt(connection: AbstractConnection) -> T:
            while True:
                watched, *replies = await _exchange(connection, [("WATCH", key), *look])
                self._formed(("WATCH",), watched)
                result, commands = decide(*map(self._formed, look, replies))
                if not commands:
                    [unwatched] = await _exchange(connection, [("UNWATCH",)])
                    self._formed(("UNWATCH",), unwatched)
                    return result
                if self._done(commands, await _exchange(connection, _transaction(commands))) is not None:
                    return result

        with _outages():
            return await self._talk(attempt)

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
        while self._idle:
            await self._idle.pop().disconnect()

    async def _talk(self, talk: Callable[[AbstractConnection], Awaitable[T]]) -> T:
        """On a connection of its own. One on which anything went wrong is closed: nobody may read what is left."""
        async with asyncio.timeout(ANSWER_S), self._room:
            connection = self._idle.pop() if self._idle else self._new()
            try:
                if connection.is_connected and await connection.can_read():  # it has ended, or says what nobody asked
                    await connection.disconnect(nowait=True)
                if not connection.is_connected:
                    await connection.connect()
                answer = await talk(connection)
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            self._idle.append(connection)
            return answer

    def _done(self, commands: Sequence[Command], replies: list[Any]) -> list[Any] | None:
        """What a transaction's commands have replied; None if it was not carried out. Raises the first error."""
        *queued, done = replies
        for reply in (*queued, done):
            if isinstance(reply, Exception):
                raise reply
        return None if done is None else list(map(self._formed, commands, done))

    def _formed(self, command: Command, reply: Any) -> Any:
        """As redis-py's callers know it. Raises ResponseError if it is one."""
        if isinstance(reply, Exception):
            raise reply
        form = self._forms.get(command[0])
        return form(reply) if form else reply


async def _exchange(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """Say them at once and wait for all replies; one that is an error does not hide the others."""
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response())
        except exceptions.ResponseError as error:
            replies.append(error)
    return replies


def _transaction(commands: Sequence[Command]) -> list[Command]:
    return [("MULTI",), *commands, ("EXEC",)]


@contextmanager
def _outages() -> Iterator[None]:
    try:
        yield
    except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
        raise BusDown(str(error) or type(error).__name__) from error
    except exceptions.ResponseError as error:
        if "NOGROUP" in str(error):
            raise NoGroup(str(error)) from error
        refused = isinstance(error, exceptions.ExecAbortError) and any(word in str(error) for word in UNABLE_WORDS)
        if refused or isinstance(error, UNABLE) or any(word in str(error) for word in PASSING):
            raise BusDown(str(error)) from error
        raise
    except RuntimeError as error:
        if CLOSED not in str(error):
            raise
        raise BusDown("the connection was reset") from error
