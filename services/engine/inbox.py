"""From the bus to the scheduler: new requests while there is room, and what is to be aborted.

Rows are filled at once. What will only wait is taken too, since turns between tenants are given here and not on the
bus, but in sips: another engine that has a free row comes first. Interactive requests are read before the batch lane,
but for one read in BATCH_READS, so that it never starves.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

from services.engine.core.bounds import refusal
from services.engine.core.events import Abort, Delta, Event, Submit
from services.engine.ledger import Ledger
from services.engine.loop import StepOutput
from services.engine.preparation import Preparation, Prepare, no_grammars
from services.engine.trials import Trials
from shared.bus import Bus, BusDown, Delivery, Executor, StreamId
from shared.channel import Channel
from shared.clock import BusClock
from shared.grammars import MAX_GRAMMAR_BYTES, too_large
from shared.messages import Cancel, GenerateRequest
from shared.types import LANES, FinishReason

WAIT_S = 2.0  # of one blocking read
RETRY_S = 0.2  # after the bus did not answer
COMPARE_S = 10.0  # between two looks at the pending list, and at the bus's clock
SIP, SIP_S = 16, 0.02  # requests taken to wait here, and the time for others to take them before
BATCH_READS = 8
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
        rows: int,
        prepare: Prepare = no_grammars,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._executor = executor
        self._ledger = ledger
        self._events = events
        self._outputs = outputs
        self._vocab_size = vocab_size
        self._rows = rows  # requests that can run at once
        self._clock = clock
        self._bus_clock = BusClock(clock)
        self._trials = Trials(ledger, events, outputs, self._submit)
        self._preparation = Preparation(ledger, outputs, self._trials, prepare)
        self._reads = 0

    async def receive(self, shards: float = math.inf) -> None:
        """Take requests while there is room. After an unclear reply, and now and then, the pending list is compared
        with what we hold: what was given to us and never arrived is taken up (PROTOCOL 9). What is for a shard that
        does not exist is nobody's: its end could not be told, and an owner lays it aside (PROTOCOL 11)."""
        compared_s = self._clock()
        while True:
            await self._ledger.wait_for_room()
            try:
                if not self._bus_clock.known:
                    await self._bus_clock.sync(self._bus)
                if self._clock() - compared_s > COMPARE_S:
                    await self._bus_clock.sync(self._bus)
                    deliveries = await self._bus.held(self._executor)
                    self._ledger.reconcile(deliveries)
                    compared_s = self._clock()
                else:
                    deliveries = await self._take()
            except BusDown as error:
                log.warning("the bus does not answer: %s", error)
                compared_s = -math.inf
                await asyncio.sleep(RETRY_S)
                continue
            await self._admit([one for one in deliveries if one.request.shard < shards])

    async def prepare(self) -> None:
        """Requests with a grammar wait for that, and nobody waits with them."""
        await self._preparation.run()

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
                    if ended := self._ledger.cancel(message.id):
                        await self._outputs.send(StepOutput((), tuple(ended)))

    async def _take(self) -> list[Delivery]:
        free, wait_s = self._rows - self._ledger.held, WAIT_S
        if free <= 0:
            await asyncio.sleep(SIP_S)
            free, wait_s = SIP, 0.0  # nor does it stand in line for what is yet to come
        self._reads += 1
        if self._reads % BATCH_READS == 0:
            return await self._bus.take(self._executor, 1, wait_s, LANES[::-1])
        return await self._bus.take(self._executor, min(free, self._ledger.room), wait_s)

    async def _admit(self, deliveries: Sequence[Delivery]) -> None:
        admitted: list[GenerateRequest] = []
        for delivery in deliveries:
            if self._ledger.outdated(delivery):
                await self._trials.set_aside([delivery.request.id])
                self._ledger.drop(delivery.request.id)
            request = self._ledger.take(delivery)
            if request is None:
                continue
            if reason := self._refusal(request):
                failed = Delta(request.id, len(request.output), (), FinishReason.ERROR, reason)
                await self._outputs.send(StepOutput((), (failed,)))
            elif request.sampling.grammar:
                self._preparation.take(request)
            else:
                admitted.append(request)
        await self._trials.admit(admitted)

    def _refusal(self, request: GenerateRequest) -> str:
        """Ids the model has no row for would harm others' logits: the gateway checks too, but the bus is open."""
        ids = (*request.prompt, *request.output)
        if not ids or min(ids) < 0 or max(ids) >= self._vocab_size:
            return f"the prompt's token ids must lie between 0 and {self._vocab_size - 1}"
        if too_large(request.sampling.grammar):
            return f"the grammar has more than {MAX_GRAMMAR_BYTES} bytes"
        return refusal(request.sampling, self._vocab_size)

    def _submit(self, request: GenerateRequest) -> Submit:
        deadline_ms = request.deadline_ms
        return Submit(
            id=request.id,
            parent_id=request.parent_id,
            prompt=request.prompt,
            output=request.output,
            sampling=request.sampling,
            lane=request.lane,
            tenant=request.tenant,
            priority=request.priority,
            arrival=self._clock(),
            deadline=math.inf if deadline_ms is None else self._bus_clock.local_s(deadline_ms),
            cache_salt=request.cache_salt,
        )
