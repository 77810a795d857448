"""From the scheduler to the bus: one packed entry for each shard and step.

It runs beside the step loop and never on it; only when the channel between them is full does the loop wait. What piles
up while the bus is slow goes out as one entry.
"""

import asyncio
import logging
from collections import defaultdict

from services.engine.ledger import Ledger
from services.engine.loop import StepOutput
from shared.bus import Bus, BusDown, Executor
from shared.channel import Channel
from shared.messages import Record

RETRY_S = 0.1  # after the bus did not answer
log = logging.getLogger("sluice.engine.outbox")


class Outbox:
    def __init__(self, bus: Bus, executor: Executor, ledger: Ledger, outputs: Channel[StepOutput]) -> None:
        self._bus = bus
        self._executor = executor
        self._ledger = ledger
        self._outputs = outputs
        self._entries = 0
        self._records = 0

    async def publish(self) -> None:
        """Until the outputs end. Raises Fenced when somebody has ended this executor."""
        async for first in self._outputs:
            by_shard: dict[int, list[Record]] = defaultdict(list)
            for output in (first, *self._outputs.drain()):
                for shard, record in self._tell(output):
                    by_shard[shard].append(record)
            for shard, records in by_shard.items():
                self._entries += 1
                self._records += len(records)
                await self._append(shard, self._entries, records)
            self._ledger.publish()

    def _tell(self, output: StepOutput) -> list[tuple[int, Record]]:
        found = {seat.id: seat.cached for seat in output.seated}
        told = [record for request in output.began for record in self._ledger.start(request, found.get(request))]
        for delta in output.deltas:
            told += self._ledger.tell(delta)
        return told

    async def _append(self, shard: int, entry: int, records: list[Record]) -> None:
        """The same id again until the reply is clear: it cannot count twice (PROTOCOL 1)."""
        while True:
            try:
                return await self._bus.append(self._executor, shard, entry, records)
            except BusDown as error:
                log.warning("the bus does not answer: %s", error)
                await asyncio.sleep(RETRY_S)

    def statistics(self) -> dict[str, int]:
        return {"entries": self._entries, "records": self._records, **self._outputs.statistics()}
