"""One boot of the engine on the bus: from its birth until it is ended, or the bus was started anew (PROTOCOL 1, 10).

Scheduler and worker outlive it. What the boot held is ended in the scheduler and nothing of it is told any more, so the
next boot begins at once, with the weights where they are.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from services.engine.core.events import Abort, Event
from services.engine.core.ports import OpenWorker
from services.engine.inbox import Inbox
from services.engine.ledger import Ledger
from services.engine.loop import EngineLoop, Scheduler, StepOutput
from services.engine.outbox import Outbox
from services.engine.quiet import quiet_lane, quiet_tracks
from services.engine.steps import StepLane
from services.engine.tracks import Tracks
from shared import ops
from shared.bus import Bus, BusDown, Executor, Fenced, Rewound
from shared.channel import Channel

EVENTS = 256  # requests and cancels between inbox and loop
OUTPUTS = 64  # steps between loop and outbox; when they are full the loop waits
RETRY_S = 0.5  # after the bus did not answer
WATCH_S = 1.0  # between two looks at who remembers
log = logging.getLogger("sluice.engine")
T = TypeVar("T")


class Life:
    def __init__(
        self,
        bus: Bus,
        executor: Executor,
        scheduler: Scheduler,
        worker: OpenWorker,
        inbox: Callable[..., Inbox],
        loop: Callable[..., EngineLoop],
        max_waiting: int,
        overlap: bool,
        tracks: Tracks | None = None,
        lane: StepLane | None = None,
    ) -> None:
        self._tracks = tracks or quiet_tracks()
        self._lane = lane or quiet_lane()
        self._bus = bus
        self._executor = executor
        self._worker = worker
        self._events, self._outputs = Channel[Event](EVENTS), Channel[StepOutput](OUTPUTS)
        self._ledger = Ledger(worker.max_num_seqs + max_waiting, self._tracks)
        self._loop = loop(scheduler, worker, self._events, self._outputs, overlap=overlap, lane=self._lane)
        channels = self._events, self._outputs
        sizes = worker.vocab_size, worker.max_num_seqs
        self._inbox = inbox(bus, executor, self._ledger, *channels, *sizes, worker.prepare)
        self._outbox = Outbox(bus, executor, self._ledger, self._outputs)
        self.statistics: list[tuple[str, ops.HasStatistics]] = [
            ("loop", self._loop),
            ("ledger", self._ledger),
            ("events", self._events),
            ("outbox", self._outbox),
        ]

    async def run(self, shards: int, announce: Callable[[], Awaitable[None]]) -> None:
        """Raises Fenced or Rewound, in a group, when the scheduler has nothing any more."""
        memory = await patiently(self._bus.memory)
        control = await patiently(self._bus.control_end)
        await patiently(lambda: self._bus.birth(self._executor, shards))
        await patiently(announce)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._loop.run(), name="loop")
            over: list[BaseException] = []
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._inbox.receive(shards), name="inbox")
                    tasks.create_task(self._inbox.prepare(), name="grammars")
                    tasks.create_task(self._inbox.listen(control), name="control")
                    tasks.create_task(self._outbox.publish(), name="outbox")
                    tasks.create_task(self._watch(memory), name="memory")
                    tasks.create_task(self._worker.failure(), name="device")
            except* (Fenced, Rewound) as ended:
                over = [ended]
            for error in over:  # not in `except*`: a cancellation there would look like a failure
                await self._end()
                self._tracks.end_all()
                raise error

    async def _end(self) -> None:
        """Aborts all that is held, and waits until the loop has gone; what it still tells is not said."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._discard(), name="discard")
            self._events.drain()
            for id in self._ledger.ids():
                await self._events.send(Abort(id))
            self._events.close()

    async def _discard(self) -> None:
        async for _ in self._outputs:
            pass

    async def _watch(self, memory: str) -> None:
        """Raises Rewound when the bus was started anew (PROTOCOL 10)."""
        while True:
            await asyncio.sleep(WATCH_S)
            with suppress(BusDown):
                if await self._bus.memory() != memory:
                    raise Rewound(f"{self._executor}: the bus was started anew")


async def patiently(verb: Callable[[], Awaitable[T]]) -> T:
    """Until the bus answers: all these verbs may be repeated."""
    while True:
        try:
            return await verb()
        except BusDown as error:
            log.warning("the bus does not answer: %s", error)
            await asyncio.sleep(RETRY_S)
