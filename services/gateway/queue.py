"""The queue in front of the engines, as one gateway knows it: whether more may come, and where a request stands.

What counts is what waits on the bus, for all gateways: entries of the lanes less those that run, as polled (`look`),
and what this gateway has added since. Pure: nothing here waits or asks.

A request's position is in turns, as engines give them (`engine/core/fairness.py`): before a tenant's k-th request each
other tenant of the lane has at most k. The batch lane stands behind the interactive one.
"""

import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from shared.errors import Overloaded
from shared.messages import EngineStatus, GenerateRequest

ROOM = 0.1  # of the bound: who is refused shall find this much room when it comes back
UNKNOWN_S = 5  # to come back after, while nobody has measured how fast the queue moves
LONGEST_S = 60  # OpenAI's clients give up on more than 120


@dataclass(frozen=True, slots=True)
class Load:
    """What waited at the last look."""

    requests: int = 0
    tokens: int = 0  # that they may come to have, prompt and output
    rate: float = 0.0  # requests that leave the queue, a second; 0: not measured yet
    queues: Mapping[str, int] = field(default_factory=dict)  # requests, by "lane:tenant"; the longest ones


def load_of(engines: Sequence[EngineStatus], backlog: int) -> Load:
    """`backlog`: entries of the lanes. Those that no engine has read are taken to be as long as those they have."""
    requests = max(0, backlog - sum(engine.running for engine in engines))
    waiting = sum(engine.waiting for engine in engines)
    tokens = sum(engine.waiting_tokens for engine in engines)
    queues = Counter[str]()
    for engine in engines:
        queues.update(engine.queues)
    unread = max(0, requests - waiting)
    tokens += unread * tokens // waiting if waiting else 0
    return Load(requests, tokens, sum(engine.drain_rate for engine in engines), queues)


@dataclass(eq=False, slots=True)
class Place:
    """One client request that waits, until it leaves."""

    queue: "Queue"
    name: str  # "lane:tenant"
    number: int
    waiting: bool = True

    def position(self) -> int:
        """How many turns it is away, 1 for the next; 0 when nothing waits, as far as anybody knows."""
        return self.queue.position(self) if self.waiting else 0

    def estimate_s(self) -> float | None:
        """How long that takes at the pace measured."""
        rate = self.queue.load.rate
        return self.position() / rate if rate and self.waiting else None

    def headers(self) -> dict[str, str]:
        """For the answer; empty when nothing waits."""
        if not (position := self.position()):
            return {}
        estimate_s = self.estimate_s()
        told = {} if estimate_s is None else {"X-Queue-Estimate-Seconds": f"{estimate_s:.1f}"}
        return {"X-Queue-Position": str(position)} | told

    def comment(self) -> bytes | None:
        """For an event stream; None when nothing waits."""
        if not (position := self.position()):
            return None
        estimate_s = self.estimate_s()
        told = "" if estimate_s is None else f" estimate={estimate_s:.1f}s"
        return f": queued position={position}{told}\n\n".encode()

    def leave(self) -> None:
        """Its answer begins, or it is given up."""
        if self.waiting:
            self.waiting = False
            self.queue.left(self)


class Queue:
    """`share`: the part of `most_requests` that one tenant may fill, if it has a name."""

    def __init__(self, most_requests: int, most_tokens: int, share: float) -> None:
        self.load = Load()
        self._most_requests = most_requests
        self._most_tokens = most_tokens
        self._most_of_one = max(1, int(most_requests * share))
        self._fresh = Counter[str]()  # requests added here since the last look
        self._fresh_tokens = 0
        self._places: dict[str, list[int]] = {}  # the numbers of those that wait here, in order
        self._number = 0
        self._refused = 0

    @property
    def requests(self) -> int:
        """All that wait."""
        return self.load.requests + self._fresh.total()

    def look(self, load: Load) -> None:
        self.load = load
        self._fresh.clear()
        self._fresh_tokens = 0

    def check(self) -> None:
        """Before a request is read. Raises Overloaded if there is no room for any."""
        if self.requests >= self._most_requests:
            self._refuse("requests", self._most_requests, 1)

    @contextmanager
    def place(self, requests: Sequence[GenerateRequest]) -> Iterator[Place]:
        """Room for the choices of one client request. Raises Overloaded; an empty queue takes whatever comes."""
        lane, tenant, count = requests[0].lane, requests[0].tenant, len(requests)
        tokens = sum(len(request.prompt) + request.sampling.max_tokens for request in requests)
        name = f"{lane}:{tenant}"
        self._admit(name, count, tokens, named=bool(tenant))
        self._fresh[name] += count
        self._fresh_tokens += tokens
        self._number += 1
        place = Place(self, name, self._number)
        insort(self._places.setdefault(name, []), place.number)
        try:
            yield place
        finally:
            place.leave()

    def left(self, place: Place) -> None:
        numbers = self._places[place.name]
        del numbers[bisect_left(numbers, place.number)]
        if not numbers:
            del self._places[place.name]

    def position(self, place: Place) -> int:
        if not self.requests:
            return 0
        ours = self._places[place.name]
        rank, here = bisect_left(ours, place.number) + 1, len(ours)
        told = self.load.queues.get(place.name)
        everywhere = here if told is None else told + self._fresh[place.name]
        if here < everywhere:  # other gateways have the rest
            rank = math.ceil(rank * everywhere / here)
        rank = max(1, rank - max(0, here - everywhere))  # the oldest of them run already
        return min(rank + self._ahead(place.name, rank), self.requests)

    def _ahead(self, own: str, rank: int) -> int:
        """How many of others go before the request that is number `rank` of its own tenant."""
        lane, ahead = own.partition(":")[0], 0
        for name, count in self.load.queues.items():
            if name == own:
                continue
            if name.startswith(lane):
                ahead += min(count, rank)
            elif lane == "batch":
                ahead += count
        return ahead

    def retry_after_s(self, over: float = 1) -> int:
        """Whole seconds after which `over` requests will have left, and a tenth of the queue's bound at least:
        ceil(max(over, ROOM * bound) / drain rate), from 1 to LONGEST_S."""
        if not self.load.rate:
            return UNKNOWN_S
        return min(LONGEST_S, max(1, math.ceil(max(over, ROOM * self._most_requests) / self.load.rate)))

    def statistics(self) -> dict[str, float]:
        here = sum(map(len, self._places.values()))
        tokens = self.load.tokens + self._fresh_tokens
        return {
            "requests": self.requests,
            "tokens": tokens,
            "drain_rate": self.load.rate,
            "waiting_here": here,
            "refused": self._refused,
        }

    def _admit(self, name: str, count: int, tokens: int, *, named: bool) -> None:
        waiting = self.requests
        if not waiting:
            return
        if (over := waiting + count - self._most_requests) > 0:
            self._refuse("requests", self._most_requests, over)
        of_one = self.load.queues.get(name, 0) + self._fresh[name]
        if named and of_one and (over := of_one + count - self._most_of_one) > 0:
            self._refuse("requests of this API key", self._most_of_one, over)
        queued_tokens = self.load.tokens + self._fresh_tokens
        if queued_tokens and (over := queued_tokens + tokens - self._most_tokens) > 0:
            self._refuse("tokens", self._most_tokens, math.ceil(over * waiting / queued_tokens))

    def _refuse(self, what: str, most: int, over: int) -> None:
        self._refused += 1
        raise Overloaded(f"{most} {what} wait already; try again later", retry_after_s=self.retry_after_s(over))
