"""What is known of the engines and of the shards' owners: polled about each second, asked at every request.
A request is refused only after a fresh look: another gateway may have seen already what this one has not."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from services.gateway.limits import Limits
from services.gateway.queue import Load, load_of
from shared.bus import Bus, BusDown
from shared.clock import BusClock
from shared.errors import Unavailable
from shared.messages import EngineStatus, ShardStatus
from shared.ops import Readiness

log = logging.getLogger(__name__)

POLL_S = 1.0
QUEUED_POLL_S = 0.25  # while somebody waits
STARTING_POLL_S = 0.2  # while a request would not be served
ANSWER_S = 3.0  # a bus that takes longer is as good as down

OnOwner = Callable[[ShardStatus], None]
OnLoad = Callable[[Load], None]


class Cluster:
    """The one owner of that knowledge. `on_owner` hears each shard's owner, again when it has changed; `on_load` hears
    what waits, at each look. `clock` is kept in step with the bus's."""

    def __init__(
        self, bus: Bus, shards: int, on_owner: OnOwner, on_load: OnLoad = lambda _: None, clock: BusClock | None = None
    ) -> None:
        self._bus = bus
        self._on_owner = on_owner
        self._on_load = on_load
        self.clock = clock or BusClock()
        self._queued = False
        self._up: bool | None = None  # None until the first look has ended
        self._looking = asyncio.Lock()
        self._engines: Sequence[EngineStatus] = ()
        self._owners: list[ShardStatus | None] = [None] * shards
        self._polls = 0

    async def run(self) -> None:
        while True:
            await self.poll()
            busy_s = QUEUED_POLL_S if self._queued else POLL_S
            await asyncio.sleep(busy_s if self.readiness().ready else STARTING_POLL_S)

    async def poll(self) -> None:
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        self._polls += 1
        try:
            async with asyncio.timeout(ANSWER_S):
                self._engines = await self._bus.engines()
                self._owners = await self._bus.shards(len(self._owners))
                load = load_of(self._ready(), await self._bus.backlog())
                await self.clock.sync(self._bus)
        except (BusDown, TimeoutError) as error:
            if self._up:
                log.warning("the bus is down: %s", error)
            self._up = False
            return
        self._up = True
        self._queued = load.requests > 0
        self._on_load(load)
        for owner in self._owners:
            if owner is not None:
                self._on_owner(owner)

    async def limits(self) -> Limits:
        """What every ready engine can take. Raises Unavailable if a request would not be served now."""
        if not self.readiness().ready and self._up is not False:
            await self._fresh_look()
        state = self.readiness()
        if not state.ready:
            raise Unavailable(state.message)
        ready = self._ready()
        return Limits(min(e.max_model_len for e in ready), min(e.vocab_size for e in ready))

    def max_model_len(self) -> int | None:
        return min((engine.max_model_len for engine in self._ready()), default=None)

    def readiness(self) -> Readiness:
        if not self._up:
            return Readiness(False, "starting" if self._up is None else "the bus does not answer")
        if not self._ready():
            loading = max(self._engines, key=lambda engine: engine.progress, default=None)
            if loading is None:
                return Readiness(False, "no engine is there")
            return Readiness(False, f"engine: {loading.message or 'loading'}", loading.progress)
        missing = [str(shard) for shard, owner in enumerate(self._owners) if owner is None]
        if missing:
            return Readiness(False, f"no detokenizer owns shard {', '.join(missing)}")
        return Readiness(True)

    def statistics(self) -> dict[str, int]:
        owned = sum(owner is not None for owner in self._owners)
        return {
            "bus_up": bool(self._up),
            "engines_ready": len(self._ready()),
            "shards_owned": owned,
            "polls": self._polls,
        }

    async def _fresh_look(self) -> None:
        """One that begins after this call; all who wait for one share it."""
        begun = self._polls
        async with self._looking:
            if self._polls == begun:
                await self._look()

    def _ready(self) -> list[EngineStatus]:
        return [engine for engine in self._engines if engine.state == "ready"]
