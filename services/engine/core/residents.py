"""The running requests: each has a row of the worker and blocks of the KV cache, from `seat` to `leave`.

The row is free for the next one at once, since plans are applied in order. The blocks of a request in flight stay with
its last launched step and come back when that commits.
"""

from bisect import bisect_left, insort
from collections import Counter
from operator import attrgetter

from services.engine.core.blocks import BlockPool
from services.engine.core.config import SchedulerConfig
from services.engine.core.flights import Flights
from services.engine.core.request import NEVER, Phase, Request
from services.engine.core.rows import Rows

_rank = attrgetter("rank")


class Residents:
    __slots__ = ("_config", "_flights", "_turned_away", "by_rank", "pool", "rows")

    def __init__(self, config: SchedulerConfig, flights: Flights) -> None:
        self._config = config
        self._flights = flights
        self.pool = BlockPool(config.num_blocks)
        self.rows = Rows(config.max_num_seqs)
        self.by_rank: list[Request] = []
        self._turned_away = (0, 0)  # the epoch that found no room, and how many blocks had been returned by then

    def seat(self, request: Request) -> bool:
        """Give a row, and blocks for all known tokens, those found in the index first. False: no room now."""
        size, pool = self._config.block_size, self.pool
        if not self.rows.free or (self.by_rank and self._turned_away == (request.epoch, pool.returned)):
            return False  # nothing has changed: spares the walk along a long chain in every step
        caching = self._config.prefix_caching
        # At least one token is left to compute.
        most = (request.known - 1) // size if caching and not request.probed else 0
        shared = pool.index.find(request.chain, request.tokens, most)
        fresh = self._config.blocks_for(request.known) - len(shared)
        # Each running request keeps the prospect of one block, else it would preempt the newcomer in a moment.
        if pool.free_after(shared, fresh) < len(self.by_rank):
            self._turned_away = (request.epoch, pool.returned)
            return False
        pool.share(shared)
        request.blocks = shared + [pool.take() for _ in range(fresh)]
        request.capacity = len(request.blocks) * size
        request.computed = len(shared) * size
        request.sealed = len(shared)
        request.seal_at = request.computed + size if caching else NEVER
        request.row = self.rows.take()
        request.phase = Phase.RUNNING
        insort(self.by_rank, request, key=_rank)
        return True

    def grow(self, request: Request) -> int:
        """One more block for a request, when the pool has one. Returns it."""
        block = self.pool.take()
        request.blocks.append(block)
        request.capacity += self._config.block_size
        return block

    def seal(self, request: Request, end: int) -> None:
        """Tokens [0, end) are computed and their values known: tell the index of the blocks that are full now."""
        size = self._config.block_size
        for index in range(request.sealed, end // size):
            self.pool.index.insert(request.chain.digest(index, request.tokens), request.blocks[index])
        request.sealed = end // size
        request.seal_at = (request.sealed + 1) * size

    def leave(self, request: Request) -> None:
        del self.by_rank[bisect_left(self.by_rank, request.rank, key=_rank)]
        self.rows.vacate(request.row)
        if request.in_flight:
            self._flights.hold(request.blocks, request.last_step)
        else:
            self.pool.release(request.blocks)

    def check(self) -> None:
        owned = Counter(block for request in self.by_rank for block in request.blocks)
        owned.update(block for flight in self._flights for blocks in flight.holds for block in blocks)
        self.pool.check(owned)
        self.rows.check(request.row for request in self.by_rank)
        assert sorted(self.by_rank, key=_rank) == self.by_rank, "running requests are out of order"
        assert all(request.phase is Phase.RUNNING for request in self.by_rank), "a resident does not run"
