"""Whose time is up: a heap by deadline. Who ends before stays until it is met or swept."""

import heapq
import math

from services.engine.core.request import Phase, Request

FEW = 64  # entries that need no sweeping


class Deadlines:
    __slots__ = ("_heap", "_sweep_at")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Request]] = []  # epochs are unique, so requests are never compared
        self._sweep_at = FEW

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, request: Request) -> None:
        if request.deadline == math.inf:
            return
        heapq.heappush(self._heap, (request.deadline, request.epoch, request))
        if len(self._heap) > self._sweep_at:  # doubling pays for the sweep
            self._heap = [entry for entry in self._heap if entry[2].phase is not Phase.ENDED]
            heapq.heapify(self._heap)
            self._sweep_at = max(FEW, 2 * len(self._heap))

    def passed(self, now: float) -> list[Request]:
        """Takes out all that are held and were to have ended by `now`, the earliest first."""
        late: list[Request] = []
        while self._heap and self._heap[0][0] <= now:
            request = heapq.heappop(self._heap)[2]
            if request.phase is not Phase.ENDED:
                late.append(request)
        return late
