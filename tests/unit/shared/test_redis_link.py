"""The link to Redis: who cancels it is obeyed, whatever the library underneath makes of it."""

import asyncio
from typing import Any, cast

import pytest
from redis import asyncio as redis
from redis import exceptions

from shared.bus import BusDown
from shared.redis_link import RedisLink


class Swallows:
    """A client as redis-py is on Python 3.11 at a bad moment: the cancellation is caught, and a reply is returned."""

    def __init__(self, then: Exception | None = None) -> None:
        self.response_callbacks: dict[str, Any] = {}
        self.asked = asyncio.Event()
        self._then = then

    async def execute_command(self, *command: Any) -> bytes:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self._then:
                raise self._then from None
        return b"OK"


def link(client: Any) -> RedisLink:
    return RedisLink(cast(redis.Redis, client))


@pytest.mark.parametrize("then", [None, exceptions.ConnectionError("cut")], ids=["a reply", "an error"])
async def test_a_cancellation_is_kept_when_the_library_swallows_it(then: Exception | None) -> None:
    """A task that went on after it would ask for ever, and a service with such a task would never end."""
    client, went_on = Swallows(then), []

    async def ask() -> None:
        try:
            went_on.append(await link(client).ask("PING"))
        except BusDown as error:
            went_on.append(error)

    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(ask())
        await client.asked.wait()
        asking.cancel()
    assert asking.cancelled()
    assert not went_on


async def test_a_timeout_is_kept_when_the_library_swallows_it() -> None:
    """A deadline around the link cancels it too, and must come out as one."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await link(Swallows()).ask("PING")


async def test_who_is_being_cancelled_may_still_ask() -> None:
    """An engine says its last words while it ends: only a cancellation that comes meanwhile stops those."""

    class Answers(Swallows):
        async def execute_command(self, *command: Any) -> bytes:
            return b"PONG"

    last_words: list[bytes] = []
    begun = asyncio.Event()

    async def ends() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            last_words.append(await link(Answers()).ask("PING"))
            raise

    async with asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(ends())
        await begun.wait()
        ending.cancel()
    assert ending.cancelled()
    assert last_words == [b"PONG"]


class Breaks:
    """A client whose transport breaks with this error."""

    def __init__(self, error: Exception) -> None:
        self.response_callbacks: dict[str, Any] = {}
        self._error = error

    async def execute_command(self, *command: Any) -> bytes:
        raise self._error


async def test_what_uvloop_says_of_a_reset_connection_is_an_outage() -> None:
    """It is no OSError, and a service that let it through would die of a cut connection."""
    closed = RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
    with pytest.raises(BusDown, match="reset"):
        await link(Breaks(closed)).ask("PING")


async def test_any_other_runtime_error_is_none() -> None:
    """A defect of ours must not be waited out."""
    with pytest.raises(RuntimeError, match="ours"):
        await link(Breaks(RuntimeError("ours"))).ask("PING")
