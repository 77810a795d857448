"""How long blocks of the KV cache live and lie idle, seen on one block in SAMPLED: what a larger cache would be worth.

The pool tells what happens to a block; the time is the scheduler's `now`. Whoever shows it takes what was found.
"""

from collections import deque
from typing import Literal, NamedTuple

SAMPLED = 100  # of so many blocks one is watched: those whose number it divides
KEPT = 1024  # findings that nobody has taken yet; then the oldest go
What = Literal["lifetime", "idle", "reuse"]


class Age(NamedTuple):
    what: What
    seconds: float


class BlockAges:
    """`lifetime`: from when a block was given out until what it held was given up for others. `idle`: of that, since
    somebody last used it, for text that could have been used again. `reuse`: from one use of such text to the next."""

    __slots__ = ("_born", "_used", "found", "now")

    def __init__(self) -> None:
        self.now = 0.0  # seconds
        self.found: deque[Age] = deque(maxlen=KEPT)
        self._born: dict[int, float] = {}
        self._used: dict[int, float] = {}

    def taken(self, block: int) -> None:
        """Given out anew; what it held until now is forgotten."""
        if (born := self._born.get(block)) is not None:
            self.found.append(Age("lifetime", self.now - born))
            self.found.append(Age("idle", self.now - self._used.get(block, born)))
        self._born[block] = self._used[block] = self.now

    def shared(self, block: int) -> None:
        """One more request reads what it holds."""
        self.found.append(Age("reuse", self.now - self._used.get(block, self.now)))
        self._used[block] = self.now

    def released(self, block: int, *, kept: bool) -> None:
        """Nobody uses it any more; what it holds is kept for others, or nothing worth it."""
        if kept:
            self._used[block] = self.now
        elif (born := self._born.pop(block, None)) is not None:
            self.found.append(Age("lifetime", self.now - born))
            del self._used[block]

    def take(self) -> list[Age]:
        """What was found since the last call."""
        found = list(self.found)
        self.found.clear()
        return found
