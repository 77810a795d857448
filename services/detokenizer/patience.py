"""Ask a bus that may be down until it answers: all that an owner asks may be asked again."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from shared.bus import BusDown

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger("sluice.detokenizer")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
SLOW_S = 2.0  # beyond what any verb waits by itself: the bus, or this process, stood still meanwhile


class Patience:
    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.reachable = False  # did the bus answer when it was asked last?
        self._failures = 0
        self._now_s = now_s
        self._since_s = now_s()  # the first answer after the last failure

    def connected_s(self) -> float:
        """For how long the bus has answered without a break; to stand still is one, as leases ran out meanwhile."""
        return self._now_s() - self._since_s if self.reachable else 0.0

    async def ask(self, verb: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        pause_s = FIRST_PAUSE_S
        while True:
            asked_s = self._now_s()
            try:
                answer = await verb(*args, **kwargs)
            except BusDown as error:
                if self.reachable:
                    log.warning("the bus is down: %s", error)
                self.reachable = False
                self._failures += 1
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                if not self.reachable or self._now_s() - asked_s > SLOW_S:
                    self._since_s = self._now_s()
                self.reachable = True
                return answer

    def statistics(self) -> dict[str, int]:
        return {"reachable": int(self.reachable), "failures": self._failures}
