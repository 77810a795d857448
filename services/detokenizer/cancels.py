"""Who wants which request to end: what the control stream said, and what this owner tells the engines (PROTOCOL 12).

A cancel may come before the request has started, and an engine that starts it later has not heard of it: so each
`Started` of a cancelled request is answered with another cancel. That is remembered while the request is queued.
"""

import asyncio
from collections.abc import Iterable

from services.detokenizer.patience import Patience
from services.detokenizer.session import Session
from shared.bus import Bus
from shared.messages import Cancel, GenerateRequest

STOPPED = "stop"  # our word to an engine that runs what has ended here
UNREAD = "nobody reads it"
FAILED = "failed"  # one choice has failed, its client needs none of the others
MOST_REMEMBERED = 10_000


class Cancels:
    def __init__(self, bus: Bus, patience: Patience) -> None:
        self._bus = bus
        self._patience = patience
        self._heard: dict[str, str] = {}  # request or parent -> reason; the oldest first
        self._outgoing: dict[str, str] = {}
        self._news = asyncio.Event()
        self._told = 0

    def hear(self, cancel: Cancel) -> None:
        if cancel.reason == STOPPED:
            return  # that session knows it: whoever builds it again finds the same stop string
        self._heard[cancel.id] = cancel.reason
        if len(self._heard) > MOST_REMEMBERED:
            del self._heard[next(iter(self._heard))]

    def say(self, id: str, reason: str) -> None:
        self._outgoing[id] = reason
        self._news.set()

    def ask(self, id: str, reason: str) -> None:
        """Say it, unless it was heard already."""
        if id not in self._heard:
            self.say(id, reason)

    def repeat(self, session: Session) -> None:
        """If this request was cancelled, tell the engines again."""
        for id in (session.request.id, session.request.parent_id):
            if not session.end and id in self._heard:
                self.say(session.request.id, self._heard[id])

    def wanted(self, request: GenerateRequest) -> bool:
        """Was this request cancelled?"""
        return request.id in self._heard or request.parent_id in self._heard

    def heard(self) -> list[str]:
        return list(self._heard)

    def forget(self, ids: Iterable[str]) -> None:
        for id in ids:
            self._heard.pop(id, None)

    async def run(self) -> None:
        """Tell the engines what there is to tell."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._outgoing:
                id = next(iter(self._outgoing))
                await self._patience.ask(self._bus.cancel, id, self._outgoing.pop(id))
                self._told += 1

    def statistics(self) -> dict[str, int]:
        return {"heard": len(self._heard), "told": self._told}
