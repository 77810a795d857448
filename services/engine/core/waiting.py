"""Who is admitted next: a heap by rank. A request that ends while it waits stays as a husk until it is met or swept."""

import heapq

from services.engine.core.request import Phase, Rank, Request


class WaitingQueue:
    __slots__ = ("_heap", "_husks")

    def __init__(self) -> None:
        self._heap: list[tuple[Rank, Request]] = []  # ranks are unique, so requests are never compared
        self._husks = 0

    def __len__(self) -> int:
        return len(self._heap) - self._husks

    def push(self, request: Request) -> None:
        heapq.heappush(self._heap, (request.rank, request))

    def first(self) -> Request | None:
        while self._heap and self._heap[0][1].phase is not Phase.WAITING:
            heapq.heappop(self._heap)
            self._husks -= 1
        return self._heap[0][1] if self._heap else None

    def pop(self) -> Request:
        """Takes what `first` has shown."""
        return heapq.heappop(self._heap)[1]

    def husk(self) -> None:
        """A request in here has ended. Sweeping when half are husks costs each of them a constant."""
        self._husks += 1
        if self._husks * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[1].phase is Phase.WAITING]
            heapq.heapify(self._heap)
            self._husks = 0

    def check(self) -> None:
        husks = sum(request.phase is not Phase.WAITING for _, request in self._heap)
        assert husks == self._husks, f"{husks} husks in the queue, {self._husks} counted"
