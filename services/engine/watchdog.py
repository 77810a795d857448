"""Notices a step that does not end: a card that hangs, a collective that waits for a rank that is gone.

After `timeout_s` the engine says that it is not ready and lets its lease run out, so the owners end it and its requests
go on elsewhere (PROTOCOL 6). Should the step end after all, the engine finds itself fenced and is born again. If it has
not after as long again, the worker is given up: the process ends, and whoever started it starts another.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from services.engine.core.ports import OpenWorker
from services.engine.measures import Measures

log = logging.getLogger("sluice.engine.watchdog")
LOOKS = 20  # in `timeout_s`
LONGEST_S = 1.0  # between two looks


class Stalls(Protocol):
    """Whoever tells others whether this engine is of use."""

    def stalled(self, why: str) -> None:
        """ "" when it is not, or not any more."""
        ...


class StepHung(Exception):
    """A step did not end in its time, nor in as much again."""


class Watchdog:
    """`oldest`: the step that is to end next, and for how many seconds it has had the device. `timeout_s` 0: never."""

    def __init__(
        self,
        oldest: Callable[[], tuple[int, float] | None],
        timeout_s: float,
        status: Stalls,
        worker: OpenWorker,
        measures: Measures,
    ) -> None:
        self._oldest = oldest
        self._timeout_s = timeout_s
        self._status = status
        self._worker = worker
        self._measures = measures
        self._stalled: int | None = None  # the step

    async def run(self) -> None:
        while self._timeout_s:
            self.look()
            await asyncio.sleep(min(LONGEST_S, self._timeout_s / LOOKS))

    def look(self) -> None:
        step, age_s = self._oldest() or (None, 0.0)
        if step is None or age_s < self._timeout_s:
            if self._stalled is not None:
                log.warning("step %d has ended after all", self._stalled)
                self._status.stalled("")
            self._stalled = None
            return
        message = f"step {step} has not ended for {age_s:.1f} s"
        self._status.stalled(message)
        if self._stalled is None:
            self._stalled = step
            self._measures.stalls.inc()
            log.error("%s: not ready, and the lease is not renewed", message)
        if age_s >= 2 * self._timeout_s:
            self._worker.fail(StepHung(message))
