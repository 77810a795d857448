"""An event loop whose clock stands still: what waits for a time waits until somebody moves it on.

So nothing that a service does now and then falls between two steps that are compared.
"""

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class StillLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._now_s = 1000.0
        super().__init__()

    def time(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        self._now_s += seconds


def still_loop() -> StillLoop:
    """The running one."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, StillLoop), "a rig runs in `run`"
    return loop


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=StillLoop) as runner:
        return runner.run(work)


class News:
    """Who waits for a state looks again whenever somebody says that there is news."""

    def __init__(self) -> None:
        self._waiting: asyncio.Future[None] | None = None

    def tell(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage is collected within, and none is left from before."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
