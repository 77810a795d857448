"""Where this owner stands in the token streams of its shard and in the control stream.

One task reads them; others wait here until it has come far enough. A stream with a gap is read again from its start.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from services.detokenizer.patience import Patience
from shared.bus import ZERO, Bus, Step, StreamId
from shared.messages import Control

log = logging.getLogger("sluice.detokenizer")

READ_WAIT_S = REREAD_S = 1.0


class Streams:
    def __init__(self, bus: Bus, patience: Patience, shard: int, now_s: Callable[[], float]) -> None:
        self._bus = bus
        self._patience = patience
        self._shard = shard
        self._now_s = now_s
        self._cursors: dict[str, StreamId] = {}
        self._control = ZERO
        self._gaps: set[str] = set()  # executors whose stream must be read again
        self._reread_s: dict[str, float] = {}  # and when that was done last
        self._progress = asyncio.Event()

    def __len__(self) -> int:
        return len(self._cursors)

    def known(self) -> dict[str, StreamId]:
        """How far each executor's stream was read."""
        return dict(self._cursors)

    def add(self, executors: Iterable[str]) -> None:
        for executor in executors:
            self._cursors.setdefault(executor, ZERO)

    def forget(self, executor: str) -> None:
        """Its stream is gone."""
        self._cursors.pop(executor, None)
        self._reread_s.pop(executor, None)
        self._gaps.discard(executor)

    def clear(self) -> None:
        """All of them are to be read anew."""
        self._cursors.clear()
        self._gaps.clear()
        self._control = ZERO

    def again(self, executors: Iterable[str]) -> None:
        """Something is missing in their tokens."""
        self._gaps.update(executors)

    async def read(self) -> tuple[list[Step], list[tuple[StreamId, Control]]]:
        """What follows; whoever takes a step or a control message says so by `took` and `heard`."""
        self._begin_again()
        return await self._patience.ask(self._bus.read, self._shard, self.known(), self._control, READ_WAIT_S)

    def took(self, step: Step) -> None:
        self._cursors[step.executor] = step.id
        self._progress.set()

    def heard(self, at: StreamId) -> None:
        self._control = at

    async def reached(self, executor: str, at: StreamId, wait_s: float) -> bool:
        """Waits up to `wait_s` until this executor's stream was read up to there."""
        self.add([executor])
        try:
            async with asyncio.timeout(wait_s):
                while self._cursors.get(executor, at) < at:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return False
        return True

    def _begin_again(self) -> None:
        """Each at most once in REREAD_S."""
        now_s = self._now_s()
        for executor in list(self._gaps):
            if now_s - self._reread_s.get(executor, now_s - REREAD_S) >= REREAD_S:
                log.warning("a gap in the tokens of %s: reading its stream again", executor)
                self._cursors[executor] = ZERO
                self._reread_s[executor] = now_s
                self._gaps.discard(executor)
