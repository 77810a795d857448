"""An event loop whose clock stands still while code runs and jumps to the next timer when all wait."""

import asyncio
import selectors
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: the time that `select` was to wait is over at once, and `late_s` more."""

    def __init__(self, late_s: float) -> None:
        super().__init__()
        self.now = 0.0
        self._late_s = late_s

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everybody waits for something that no timer brings"
        if timeout > 0:
            self.now += timeout + self._late_s
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Timers fire `late_s` after their time, which is exact otherwise; nothing takes any time by itself."""

    def __init__(self, late_s: float = 0.0) -> None:
        self._virtual = _Selector(late_s)
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    @contextmanager
    def running(self) -> Iterator["VirtualLoop"]:
        try:
            yield self
        finally:
            self.close()
