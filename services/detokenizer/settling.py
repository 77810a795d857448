"""Ended requests on their way out: all that have gathered, in one transaction after the other (PROTOCOL 5)."""

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice

from services.detokenizer.kept import Kept
from services.detokenizer.ownership import Ownership
from services.detokenizer.patience import Patience
from services.detokenizer.session import Session
from services.detokenizer.sessions import Sessions
from services.detokenizer.tracing import Tracing
from shared.bus import Bus, Settled
from shared.types import RequestId

BATCH = 128


class Settling:
    def __init__(
        self,
        bus: Bus,
        patience: Patience,
        ownership: Ownership,
        sessions: Sessions,
        kept: Kept,
        tracing: Tracing,
        now_s: Callable[[], float],
    ) -> None:
        self._bus = bus
        self._patience = patience
        self._ownership = ownership
        self._sessions = sessions
        self._kept = kept
        self._tracing = tracing
        self._now_s = now_s
        self._unsettled: dict[RequestId, Session] = {}  # ended, and not yet on the bus
        self._ended = asyncio.Event()
        self._settled = 0

    def add(self, session: Session) -> None:
        self._unsettled[session.request.id] = session
        self._ended.set()

    def again(self, sessions: Iterable[Session]) -> None:
        """These and no others: the bus may have forgotten what it was told."""
        self._unsettled = {session.request.id: session for session in sessions}
        self._ended.set()

    async def run(self) -> None:
        """For ever. Raises Retired, Rewound."""
        while True:
            await self._ended.wait()
            self._ended.clear()
            while batch := list(islice(self._unsettled.values(), BATCH)):
                await self._settle(batch)

    async def _settle(self, batch: list[Session]) -> None:
        settled = [Settled(one.entry, one.outcome()) for one in batch if not one.settled]
        if settled:
            async with self._ownership.alone:
                await self._ownership.settle(settled)
            await self._patience.ask(self._bus.forget, self._kept.add(one.outcome for one in settled))
        for one in batch:
            if not one.settled:  # recalled meanwhile, and perhaps forgotten
                self._sessions.settle(one, self._now_s())
                self._tracing.settled(one)
            self._unsettled.pop(one.request.id, None)
        self._settled += len(settled)

    def statistics(self) -> dict[str, object]:
        return {"settled": self._settled, "unsettled": len(self._unsettled), "kept": self._kept.statistics()}
