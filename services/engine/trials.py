"""Requests that were running when two engines died: each runs alone until it has brought a token (PROTOCOL 11).

Whatever else is here is set aside meanwhile: ended in the scheduler, and submitted again behind the tokens it had. So
if the engine dies of a request, it is known of which. `Started` is on the bus before a suspect's first step is planned.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from services.engine.core.events import Abort, Event, Submit
from services.engine.ledger import Ledger
from services.engine.loop import StepOutput
from shared.channel import Channel
from shared.messages import GenerateRequest
from shared.telemetry.spans import request_digest
from shared.types import RequestId

DEATHS = 2  # of which a request is suspect
log = logging.getLogger("sluice.engine.trials")


class Trials:
    """`submit` says how the scheduler is told of a request."""

    def __init__(
        self,
        ledger: Ledger,
        events: Channel[Event],
        outputs: Channel[StepOutput],
        submit: Callable[[GenerateRequest], Submit],
    ) -> None:
        self._ledger = ledger
        self._events = events
        self._outputs = outputs
        self._submit = submit
        self._turn = asyncio.Lock()  # nobody is admitted while a suspect runs

    async def admit(self, requests: Sequence[GenerateRequest]) -> None:
        """Requests that the ledger has taken. Returns when no trial is going on."""
        async with self._turn:
            await self._admit(requests)

    async def admit_parked(self, request: RequestId) -> None:
        """One that waited for something else, unless it has ended or was let go with others meanwhile."""
        async with self._turn:
            if (waited := self._ledger.unpark(request)) is not None:
                await self._admit([waited])

    async def _admit(self, requests: Sequence[GenerateRequest]) -> None:
        suspects = [request.id for request in requests if request.deaths >= DEATHS]
        if not suspects:
            for request in requests:
                await self._events.send(self._submit(request))
            return
        self._ledger.park([request.id for request in requests])
        for suspect in suspects:
            await self.set_aside(self._ledger.running())
            if (alone := self._ledger.unpark(suspect)) is not None:
                await self._try(alone)
        for waiting in self._ledger.unpark_all():
            await self._events.send(self._submit(waiting))

    async def set_aside(self, running: Sequence[RequestId]) -> None:
        """Returns when the scheduler has nothing of them any more."""
        self._ledger.set_aside(running)
        for id in running:
            await self._events.send(Abort(id))
        await self._ledger.until(lambda: not set(running).intersection(self._ledger.running()))

    async def _try(self, request: GenerateRequest) -> None:
        name = request_digest(request.parent_id)
        log.warning("%s.%d runs alone: %d engines died while they ran it", name, request.index, request.deaths)
        await self._outputs.send(StepOutput((request.id,), ()))
        await self._ledger.until(lambda: self._ledger.published(request.id, tokens=0))
        await self._events.send(self._submit(request))
        await self._ledger.until(lambda: self._ledger.published(request.id, tokens=1))
