"""What the engine says of itself: the lease on the bus, renewed each second, and the answer to /ready."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from services.engine.drain import DrainRate
from shared.bus import Bus, BusDown
from shared.messages import EngineStatus
from shared.ops import Readiness

LEASE_MS = 3_000
RENEW_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the scheduler is at."""

    running: int = 0
    waiting: int = 0
    waiting_tokens: int = 0
    departed: int = 0  # requests that left the queue, so far
    queues: Mapping[str, int] = field(default_factory=dict)  # as in EngineStatus


class Status:
    """The one owner of the engine's `EngineStatus`. `progress` may be called from any thread while loading."""

    def __init__(self, bus: Bus, executor: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._bus = bus
        self._status = EngineStatus(name=executor, state="loading", message="starting")
        self._load: Callable[[], Load] = Load
        self._drain = DrainRate()
        self._clock = clock
        self._bus_answers = False
        self._stalled = ""

    def progress(self, message: str, fraction: float) -> None:
        self._status = replace(self._status, message=message, progress=fraction)

    def address(self, url: str) -> None:
        self._status = replace(self._status, url=url)

    def rename(self, executor: str) -> None:
        """The engine was born again."""
        self._status = replace(self._status, name=executor)

    def ready(self, max_model_len: int, vocab_size: int, load: Callable[[], Load]) -> None:
        self._load = load
        self._status = replace(
            self._status, state="ready", message="", progress=1.0, max_model_len=max_model_len, vocab_size=vocab_size
        )

    def readiness(self) -> Readiness:
        if self._status.state == "loading":
            return Readiness(False, self._status.message, self._status.progress)
        if self._stalled:
            return Readiness(False, self._stalled)
        return Readiness(self._bus_answers, "" if self._bus_answers else "the bus does not answer")

    def stalled(self, why: str) -> None:
        """While there is a reason the lease is not renewed: others may take what we hold. "" ends it."""
        self._stalled = why

    async def announce(self) -> None:
        """Renew the lease now. Raises BusDown."""
        load = self._load()
        self._drain.observe(self._clock(), load.departed, load.waiting)
        self._status = replace(
            self._status,
            running=load.running,
            waiting=load.waiting,
            waiting_tokens=load.waiting_tokens,
            drain_rate=self._drain.rate,
            queues=load.queues,
        )
        self._bus_answers = False
        await self._bus.announce_engine(self._status, LEASE_MS)
        self._bus_answers = True

    async def keep_announcing(self) -> None:
        while True:
            if not self._stalled:
                with suppress(BusDown):
                    await self.announce()
            await asyncio.sleep(RENEW_S)
