"""What the bus remembers of requests that this process does not: how they ended, or that nobody knows them."""

import logging
from collections.abc import Callable

from services.detokenizer.links import Links
from services.detokenizer.patience import Patience
from services.detokenizer.render import refusal
from services.detokenizer.sessions import Sessions
from shared.bus import Bus
from shared.errors import NotFound
from shared.messages import Outcome
from shared.types import ParentId, RequestId, request_id

log = logging.getLogger("sluice.detokenizer")


class Recall:
    def __init__(
        self, bus: Bus, patience: Patience, sessions: Sessions, links: Links, now_s: Callable[[], float]
    ) -> None:
        self._bus = bus
        self._patience = patience
        self._sessions = sessions
        self._links = links
        self._now_s = now_s

    async def request(self, id: RequestId) -> None:
        """A request that is not queued any more, nor settled as far as we know: perhaps it was, before we started."""
        outcome = await self._patience.ask(self._bus.outcome, id)
        session = self._sessions.get(id)
        if session is not None and (session.settled or (outcome is None and session.end)):
            return
        if outcome is None:
            log.warning("request %s is gone from the bus", id)
            parent = self._sessions.lose(id, self._now_s())
        else:
            parent = self._sessions.restore(outcome, self._now_s())
        self._links.touch([parent])

    async def parent(self, parent: ParentId) -> None:
        """Gateways wait for a parent that is neither queued nor in memory: its outcome, or that there is none."""
        outcomes = await self._outcomes(parent)
        if parent in self._sessions:  # it has started meanwhile
            return
        for outcome in outcomes:
            self._sessions.restore(outcome, self._now_s())
        if outcomes:
            self._links.touch([parent])
        else:
            self._links.refuse(refusal(parent, NotFound(f"there is no request {parent!r}, or not any more")))

    async def _outcomes(self, parent: ParentId) -> list[Outcome]:
        """Of all choices; none if one of them is not kept any more."""
        found: list[Outcome] = []
        while not found or len(found) < found[0].request.render.choices:
            outcome = await self._patience.ask(self._bus.outcome, request_id(parent, len(found)))
            if outcome is None:
                return []
            found.append(outcome)
        return found
