"""Who is admitted next: interactive requests before those of the batch lane, tenants in turn, then by rank."""

from heapq import nlargest

from services.engine.core.fairness import FairQueue
from services.engine.core.request import Request
from shared.types import LANES, Lane

BATCH_TURN = 8  # so many interactive requests pass a batch lane that waits, then one of its own goes: it never starves


class WaitingQueue:
    __slots__ = ("_lanes", "_length", "_passed", "tokens")

    def __init__(self) -> None:
        self._lanes: dict[Lane, FairQueue] = {lane: FairQueue() for lane in LANES}
        self._length: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self._passed = 0  # interactive requests admitted since the batch lane had its turn
        self.tokens = 0  # that those who wait may come to have, prompt and output

    def __len__(self) -> int:
        return sum(self._length.values())

    def push(self, request: Request) -> None:
        self._lanes[request.lane].push(request)
        self._count(request, 1)

    def first(self) -> Request | None:
        return self._lanes[self._turn()].first()

    def pop(self) -> Request:
        """Takes what `first` has shown."""
        lane = self._turn()
        request = self._lanes[lane].pop()
        self._count(request, -1)
        self._passed = self._passed + 1 if lane == "interactive" and self._length["batch"] else 0
        return request

    def husk(self, request: Request) -> None:
        """A request in here has ended."""
        request.account.husk()
        self._count(request, -1)

    def lengths(self) -> dict[Lane, int]:
        """How many wait, by lane."""
        return dict(self._length)

    def tenants(self, most: int) -> dict[str, int]:
        """How many wait, by "lane:tenant", for the longest queues."""
        waiting = [(f"{lane}:{tenant}", count) for lane in LANES for tenant, count in self._lanes[lane].waiting()]
        return dict(nlargest(most, waiting, key=lambda one: one[1]))

    def _turn(self) -> Lane:
        """Changes only when somebody comes or goes."""
        if not self._length["batch"]:
            return "interactive"
        return "interactive" if self._length["interactive"] and self._passed < BATCH_TURN else "batch"

    def _count(self, request: Request, change: int) -> None:
        self._length[request.lane] += change
        self.tokens += change * request.limit

    def check(self) -> None:
        for lane, queue in self._lanes.items():
            queue.check()
            waiting = sum(count for _, count in queue.waiting())
            assert waiting == self._length[lane], f"{waiting} wait in lane {lane}, {self._length[lane]} counted"
        assert self.tokens >= 0 and (self.tokens > 0) == (len(self) > 0), f"{self.tokens} tokens wait"
