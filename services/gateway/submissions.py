"""What this gateway has submitted and still waits for. When the bus was started anew it is submitted again, as that may
have come back older (PROTOCOL 10); the guard of each submission makes it harmless where nothing was forgotten.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from shared.bus import Bus, BusDown
from shared.types import ParentId

log = logging.getLogger(__name__)

WATCH_S = 1.0
Submit = Callable[[], Awaitable[object]]


class Submissions:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._open: dict[ParentId, Submit] = {}
        self._memory = ""
        self._repeated = 0

    @contextmanager
    def hold(self, parent: ParentId, submit: Submit) -> Iterator[None]:
        """`submit` is what put it on the bus."""
        self._open[parent] = submit
        try:
            yield
        finally:
            del self._open[parent]

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except BusDown as error:
                log.debug("the bus does not answer: %s", error)
            await asyncio.sleep(WATCH_S)

    async def look(self) -> None:
        """Submit all of it again if the bus was started anew; once more if that breaks off. Raises BusDown."""
        memory = await self._bus.memory()
        if self._memory and memory != self._memory:
            log.warning("the bus was started anew: submitting %d requests again", len(self._open))
            for parent, submit in list(self._open.items()):
                if parent in self._open:
                    await submit()
                    self._repeated += 1
        self._memory = memory

    def statistics(self) -> dict[str, int]:
        return {"open": len(self._open), "repeated": self._repeated}
