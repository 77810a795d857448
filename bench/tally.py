"""Counts instead of clocks: calls, and what stays in memory. The same on every machine, whatever else runs there."""

import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

from bench.rigs.still import uncollected

FIRST = 2  # every other step is looked at in the middle of something
Step = Callable[[], Awaitable[None]]


class Tally:
    """Calls of functions on this thread, Python's and C's, between two moments; by function."""

    def __init__(self) -> None:
        self.calls: Counter[CodeType | str] = Counter()

    @contextmanager
    def counting(self) -> Iterator[None]:
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)

    @property
    def total(self) -> int:
        return self.calls.total()

    def _note(self, frame: FrameType, event: str, called: Any) -> None:
        if event == "call":
            self.calls[frame.f_code] += 1
        elif event == "c_call":
            self.calls[called.__qualname__] += 1  # not itself: it holds the object that it is a method of


async def tallied(tally: Tally, step: Step, steps: int) -> None:
    """Count the calls of so many steps."""
    with uncollected(), tally.counting():
        for _ in range(steps):
            await step()


async def retained(step: Step, steps: int) -> float:
    """Blocks of Python's allocator that a step leaves behind; FIRST steps more are taken before them."""
    with uncollected():
        for _ in range(FIRST):
            await step()
        before = sys.getallocatedblocks()
        for _ in range(steps):
            await step()
        return (sys.getallocatedblocks() - before) / steps


def name_of(function: CodeType | str) -> str:
    """A function as people look for it."""
    if isinstance(function, str):
        return function
    return f"{function.co_filename.rpartition('/')[2]}:{function.co_firstlineno} {function.co_name}"
