"""How fast requests leave the queue, measured while there is one. Pure: time is given."""

import math

MEMORY_S = 10.0  # what is older counts for less than a third


class DrainRate:
    """Departures over time, both discounted by exp(-age / MEMORY_S).

    Time counts only while somebody waits: how many leave an empty queue tells how many came, not how many could go.
    """

    def __init__(self) -> None:
        self._departed = 0.0
        self._seconds = 0.0
        self._last: tuple[float, int, int] | None = None  # when, departures so far, waiting

    def observe(self, now_s: float, departed: int, waiting: int) -> None:
        """`departed`: how many have left the queue so far; `waiting`: how many wait now."""
        if self._last is not None:
            then_s, before, waited = self._last
            if waited and waiting and now_s > then_s:
                kept = math.exp((then_s - now_s) / MEMORY_S)
                self._departed = self._departed * kept + departed - before
                self._seconds = self._seconds * kept + now_s - then_s
        self._last = now_s, departed, waiting

    @property
    def rate(self) -> float:
        """Requests a second; 0 before anything was measured."""
        return self._departed / self._seconds if self._seconds else 0.0
