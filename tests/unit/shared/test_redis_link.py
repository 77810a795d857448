"""The link to Redis: a connection carries one verb at a time, and is let go of when anything on it is unclear."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from redis import exceptions
from redis.asyncio.connection import AbstractConnection

from shared.bus import BusDown
from shared.errors import ConfigError
from shared.redis_link import RedisLink, open_link


class Scripted:
    """A connection that replies as it is told; an error among the replies is raised. Behind the last it waits."""

    def __init__(self, *replies: Any) -> None:
        self.is_connected = False
        self.said: list[tuple[Any, ...]] = []
        self.stale = False
        self.waits = asyncio.Event()
        self._replies = list(replies)

    async def connect(self) -> None:
        self.is_connected = True
        self.stale = False

    async def disconnect(self, nowait: bool = False) -> None:
        self.is_connected = False

    async def can_read(self) -> bool:
        return self.stale

    def pack_commands(self, commands: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
        return commands

    async def send_packed_command(self, commands: Sequence[tuple[Any, ...]], check_health: bool) -> None:
        self.said += commands

    async def read_response(self) -> Any:
        if not self._replies:
            self.waits.set()
            await asyncio.Event().wait()
        reply = self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


def link(*connections: Scripted) -> RedisLink:
    made = iter(connections)
    return RedisLink(lambda: cast(AbstractConnection, next(made)))


async def test_who_is_cancelled_leaves_no_reply_for_the_next() -> None:
    first, second = Scripted(), Scripted(b"second")
    asked = link(first, second)
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(asked.ask("GET", "first"))
        await first.waits.wait()
        asking.cancel()
    assert asking.cancelled() and not first.is_connected
    assert await asked.ask("GET", "second") == b"second"


async def test_a_connection_is_used_again_and_an_error_of_one_verb_does_not_end_it() -> None:
    only = Scripted(exceptions.ResponseError("wrong"), b"right")
    asked = link(only)
    with pytest.raises(exceptions.ResponseError, match="wrong"):
        await asked.ask("GET", "a")
    assert await asked.ask("GET", "b") == b"right"


async def test_a_connection_that_has_ended_while_nobody_used_it_is_made_anew() -> None:
    only = Scripted(b"1", b"2")
    asked = link(only)
    assert await asked.ask("GET", "a") == b"1"
    only.stale = True
    assert await asked.ask("GET", "a") == b"2"
    assert not only.stale


async def test_what_was_written_to_meanwhile_is_looked_at_again() -> None:
    """A transaction that was not carried out replies with nothing."""
    only = Scripted(*(b"OK", b"1", b"OK", b"QUEUED", None), *(b"OK", b"2", b"OK", b"QUEUED", [b"OK"]))
    assert await link(only).guarded("k", [("GET", "k")], lambda held: (held, [("SET", "k", held)])) == b"2"
    assert only.said[-3:] == [("MULTI",), ("SET", "k", b"2"), ("EXEC",)]


async def test_where_nothing_is_to_be_done_nothing_stays_watched() -> None:
    only = Scripted(b"OK", b"1", b"OK")
    assert await link(only).guarded("k", [("GET", "k")], lambda held: (held, ())) == b"1"
    assert only.said[-1] == ("UNWATCH",)


async def test_the_first_error_of_a_transaction_is_told() -> None:
    """Redis refuses a command, then all of them: the first says why."""
    full, aborted = exceptions.OutOfMemoryError("OOM"), exceptions.ExecAbortError("discarded")
    with pytest.raises(BusDown, match="OOM"):
        await link(Scripted(b"OK", full, aborted)).all(("SET", "k", "v"))


async def test_what_uvloop_says_of_a_reset_connection_is_an_outage() -> None:
    """It is no OSError, and a service that let it through would die of a cut connection."""
    closed = RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
    with pytest.raises(BusDown, match="reset"):
        await link(Scripted(closed)).ask("PING")


async def test_any_other_runtime_error_is_none() -> None:
    """A defect of ours must not be waited out."""
    with pytest.raises(RuntimeError, match="ours"):
        await link(Scripted(RuntimeError("ours"))).ask("PING")


async def test_a_watch_that_is_refused_guards_nothing() -> None:
    """Nothing is written, and the connection is closed."""
    connection = Scripted(exceptions.NoPermissionError("no WATCH for this user"), b"held", b"OK", b"QUEUED", [b"OK"])
    with pytest.raises(exceptions.NoPermissionError):
        await link(connection).guarded("key", [("GET", "key")], lambda held: ("written", [("SET", "key", "mine")]))
    assert connection.said == [("WATCH", "key"), ("GET", "key")]
    assert not connection.is_connected


async def test_a_transaction_that_redis_has_no_memory_for_is_an_outage() -> None:
    """Redis says so only at its end where memory ran out between."""
    error = exceptions.ExecAbortError("Transaction discarded because of: OOM command not allowed")
    with pytest.raises(BusDown, match="OOM"):
        await link(Scripted(b"OK", b"QUEUED", error)).all(("SET", "key", "value"))


@pytest.mark.parametrize("query", ["socket_timeout=soon", "nonsense=1"])
async def test_a_url_that_asks_for_what_there_is_not_is_refused_at_start(query: str) -> None:
    with pytest.raises(ConfigError, match="--redis-url: "):
        async with open_link(f"redis://127.0.0.1:1/0?{query}"):
            pass


async def test_a_url_cannot_put_a_second_clock_on_a_verb() -> None:
    """It would be `asyncio.wait_for`, which may swallow a cancellation (cpython 86296)."""
    async with open_link("redis://127.0.0.1:1/0?socket_timeout=3") as opened:
        assert opened._new().socket_timeout is None
