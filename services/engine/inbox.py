"""From the bus to the scheduler: new requests while there is room, and what is to be aborted."""

import asyncio
import logging
import math
import time
from collections.abc import Callable

from services.engine.core.events import Abort, Delta, Event, Submit
from services.engine.ledger import Ledger
from services.engine.loop import StepOutput
from shared.bus import Bus, BusDown, Delivery, Executor, StreamId
from shared.channel import Channel
from shared.messages import Cancel, GenerateRequest
from shared.types import FinishReason

WAIT_S = 2.0  # of one blocking read
RETRY_S = 0.2  # after the bus did not answer
COMPARE_S = 10.0  # between two looks at the pending list
log = logging.getLogger("sluice.engine.inbox")


class Inbox:
    def __init__(
        self,
        bus: Bus,
        executor: Executor,
        ledger: Ledger,
        events: Channel[Event],
        outputs: Channel[StepOutput],
        vocab_size: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._executor = executor
        self._ledger = ledger
        self._events = events
        self._outputs = outputs
        self._vocab_size = vocab_size
        self._clock = clock

    async def receive(self) -> None:
        """Take requests while there is room. After an unclear reply, and now and then, the pending list is compared
        with what we hold: what was given to us and never arrived is taken up (PROTOCOL 9)."""
        compared_s = self._clock()
        while True:
            await self._ledger.wait_for_room()
            try:
                if self._clock() - compared_s > COMPARE_S:
                    deliveries = await self._bus.held(self._executor)
                    self._ledger.reconcile(deliveries)
                    compared_s = self._clock()
                else:
                    deliveries = await self._bus.take(self._executor, self._ledger.room, WAIT_S)
            except BusDown as error:
                log.warning("the bus does not answer: %s", error)
                compared_s = -math.inf
                await asyncio.sleep(RETRY_S)
                continue
            for delivery in deliveries:
                await self._admit(delivery)

    async def listen(self, after: StreamId) -> None:
        """Turn every Cancel behind `after` into an Abort; ids that are not ours are the scheduler's to ignore."""
        while True:
            try:
                messages = await self._bus.control(after, WAIT_S)
            except BusDown:
                await asyncio.sleep(RETRY_S)
                continue
            for at, message in messages:
                after = at
                if isinstance(message, Cancel):
                    await self._events.send(Abort(message.id))

    async def _admit(self, delivery: Delivery) -> None:
        request = self._ledger.take(delivery)
        if request is None:
            return
        if refusal := self._refusal(request):
            failed = Delta(request.id, len(request.output), (), FinishReason.ERROR, refusal)
            await self._outputs.send(StepOutput((), (failed,)))
        else:
            await self._events.send(_submit(request, self._clock()))

    def _refusal(self, request: GenerateRequest) -> str:
        """Ids the model has no row for would harm others' logits: the gateway checks too, but the bus is open."""
        ids = (*request.prompt, *request.output)
        if not ids or min(ids) < 0 or max(ids) >= self._vocab_size:
            return f"the prompt's token ids must lie between 0 and {self._vocab_size - 1}"
        return ""


def _submit(request: GenerateRequest, now: float) -> Submit:
    return Submit(
        id=request.id,
        parent_id=request.parent_id,
        prompt=request.prompt,
        output=request.output,
        sampling=request.sampling,
        priority=request.priority,
        arrival=now,
        cache_salt=request.cache_salt,
    )
