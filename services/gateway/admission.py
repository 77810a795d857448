"""Who may come in: an upper bound on what is open at once, and a door that closes when the gateway stops."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared.errors import Overloaded, Unavailable
from shared.ops import Readiness


class Admission:
    def __init__(self, limit: int, retry_after_s: Callable[[], int]) -> None:
        self._limit = limit
        self._retry_after_s = retry_after_s
        self._open = 0
        self._admitted = 0
        self._refused = 0
        self._closing = False
        self.abandoned = False
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Room for one client request. Raises Overloaded or, once closed, Unavailable."""
        if self._closing:
            raise Unavailable("this gateway is stopping")
        if self._open >= self._limit:
            self._refused += 1
            message = f"{self._limit} requests are open already; try again later"
            raise Overloaded(message, retry_after_s=self._retry_after_s())
        self._open += 1
        self._admitted += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    def close(self) -> None:
        """Nobody comes in any more."""
        self._closing = True

    def abandon(self) -> None:
        """What is still open ends because the gateway does, not because its client has gone: it may go on elsewhere."""
        self.abandoned = True

    async def idle(self) -> None:
        """Wait until nothing is open."""
        await self._idle.wait()

    def readiness(self) -> Readiness:
        return Readiness(not self._closing, "stopping" if self._closing else "")

    def statistics(self) -> dict[str, int]:
        return {"open": self._open, "limit": self._limit, "admitted": self._admitted, "refused": self._refused}
