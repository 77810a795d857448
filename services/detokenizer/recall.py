"""What the bus remembers of requests that this process does not: how they ended, or that nobody knows them."""

import logging
import time
from collections.abc import Callable

from services.detokenizer.links import Links
from services.detokenizer.patience import Patience
from services.detokenizer.render import refusal
from services.detokenizer.sessions import Sessions
from shared.bus import Bus
from shared.errors import Gone, NotFound, SluiceError
from shared.messages import Outcome
from shared.telemetry.spans import request_digest
from shared.types import ParentId, RequestId, made_at_s, request_id

log = logging.getLogger("sluice.detokenizer")


REASSERT_S = 30.0  # after a restart of the bus nobody is told that an answer is gone


class Recall:
    def __init__(
        self,
        bus: Bus,
        patience: Patience,
        sessions: Sessions,
        links: Links,
        now_s: Callable[[], float],
        retention_s: float,
    ) -> None:
        self._bus = bus
        self._patience = patience
        self._sessions = sessions
        self._links = links
        self._now_s = now_s
        self._retention_s = retention_s
        self._patient_until_s = now_s()

    def rewound(self, ago_s: float = 0.0) -> None:
        """The bus came back with another memory: gateways submit again what it has forgotten (PROTOCOL 10)."""
        self._patient_until_s = max(self._patient_until_s, self._now_s() + REASSERT_S - ago_s)

    async def request(self, id: RequestId) -> None:
        """A request that is not queued any more, nor settled as far as we know: perhaps it was, before we started."""
        outcome = await self._patience.ask(self._bus.outcome, id)
        session = self._sessions.get(id)
        if session is not None and (session.settled or (outcome is None and session.end)):
            return
        if outcome is None and self._now_s() < self._patient_until_s:
            return
        if outcome is None:
            log.warning("a request is gone from the bus: %s", request_digest(id.rpartition(".")[0]))
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
        elif self._now_s() >= self._patient_until_s:
            self._links.refuse(refusal(parent, self._unknown(parent)))

    def _unknown(self, parent: ParentId) -> SluiceError:
        """Its id tells whether it can have been here: an answer is kept longer than a younger one is old."""
        made_s = made_at_s(parent)
        if made_s and time.time() - made_s >= self._retention_s:
            return Gone("the time for which this answer was kept has passed", param="id", code="stream_expired")
        return NotFound("there is no such stream", param="id", code="stream_not_found")

    async def _outcomes(self, parent: ParentId) -> list[Outcome]:
        """Of all choices; none if one of them is not kept any more."""
        found: list[Outcome] = []
        while not found or len(found) < found[0].request.render.choices:
            outcome = await self._patience.ask(self._bus.outcome, request_id(parent, len(found)))
            if outcome is None:
                return []
            found.append(outcome)
        return found
