"""The bus's clock as a process sees it between two looks: deadlines are told in it (PROTOCOL 14)."""

import time
from collections.abc import Callable
from typing import Protocol


class HasClock(Protocol):
    async def now_ms(self) -> int: ...


class BusClock:
    """Local monotonic time plus what was last found between the two. `sync` now and then: clocks drift."""

    def __init__(self, local_s: Callable[[], float] = time.monotonic) -> None:
        self._local_s = local_s
        self._ahead_s: float | None = None  # what the bus's clock shows beyond ours

    @property
    def known(self) -> bool:
        return self._ahead_s is not None

    async def sync(self, bus: HasClock) -> None:
        """Ask the bus; half the way there and back is the error. Raises BusDown."""
        before_s = self._local_s()
        now_ms = await bus.now_ms()
        self._ahead_s = now_ms / 1000 - (before_s + self._local_s()) / 2

    def now_ms(self) -> int:
        """On the bus's clock."""
        return round((self._local_s() + self._ahead()) * 1000)

    def local_s(self, at_ms: int) -> float:
        """When a moment of the bus's clock is, on ours."""
        return at_ms / 1000 - self._ahead()

    def _ahead(self) -> float:
        assert self._ahead_s is not None, "the bus was never asked"
        return self._ahead_s
