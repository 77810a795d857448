"""A bounded, closable queue between two tasks. A full channel makes the writer wait; closing it ends the reader's loop.

The plain verbs (`send_nowait`, `receive_nowait`, `drain`) never wait; the waiting ones are made from them (after
anyio's memory streams). Single loop only; any number of readers and writers.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, TypeVar


class Closed(Exception):
    """The channel is closed; a reader sees this only once it is also empty."""


class Full(Exception):
    """`send_nowait` found no room."""


class Empty(Exception):
    """`receive_nowait` found nothing."""


T = TypeVar("T")


class Channel(Generic[T]):
    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity}")
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._closed = False
        self._readers: deque[asyncio.Future[None]] = deque()
        self._writers: deque[asyncio.Future[None]] = deque()
        self._most = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def room(self) -> int:
        return self._capacity - len(self._items)

    @property
    def finished(self) -> bool:
        """Closed and empty: nothing will ever come again."""
        return self._closed and not self._items

    def send_nowait(self, item: T) -> None:
        if self._closed:
            raise Closed
        if len(self._items) >= self._capacity:
            raise Full
        self._items.append(item)
        self._most = max(self._most, len(self._items))
        _wake(self._readers)

    def receive_nowait(self) -> T:
        if not self._items:
            raise Closed if self._closed else Empty
        item = self._items.popleft()
        _wake(self._writers)
        return item

    def drain(self) -> list[T]:
        """Everything that is there now, without waiting for more."""
        items = list(self._items)
        self._items.clear()
        while self._writers:
            _wake(self._writers)
        return items

    async def send(self, item: T) -> None:
        while True:
            try:
                return self.send_nowait(item)
            except Full:
                await _park(self._writers)

    async def receive(self) -> T:
        while True:
            try:
                return self.receive_nowait()
            except Empty:
                await _park(self._readers)

    def close(self) -> None:
        self._closed = True
        for waiters in (self._readers, self._writers):
            while waiters:
                _wake(waiters)

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            try:
                item = await self.receive()
            except Closed:
                return
            yield item

    def statistics(self) -> dict[str, int]:
        return {"length": len(self._items), "capacity": self._capacity, "most": self._most}


async def _park(waiters: deque[asyncio.Future[None]]) -> None:
    """Wait to be woken; a waiter that is cancelled after it was woken hands the wake-up on."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiters.append(future)
    try:
        await future
    except asyncio.CancelledError:
        if future in waiters:
            waiters.remove(future)
        elif not future.cancelled():
            _wake(waiters)
        raise


def _wake(waiters: deque[asyncio.Future[None]]) -> None:
    while waiters:
        future = waiters.popleft()
        if not future.done():
            future.set_result(None)
            return
