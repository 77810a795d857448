"""The one owner of what this engine was given: which entries, which requests, and how far each has been told.

Inbox writes it, outbox reads it and strikes out what ended. The scheduler knows ids; what a record needs besides
(shard, attempt, entry) is known only here.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace

from services.engine.core.events import Delta
from shared.bus import Delivery, Entry
from shared.messages import PROMPT_TAIL, Finished, GenerateRequest, Record, Started, Tokens
from shared.types import RequestId


@dataclass(slots=True)
class _Held:
    delivery: Delivery
    started: bool = False


class Ledger:
    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: dict[RequestId, _Held] = {}
        self._taken: set[Entry] = set()  # what was taken once is never taken again (PROTOCOL 9)
        self._freed = asyncio.Event()
        self._total = 0

    @property
    def room(self) -> int:
        return self._capacity - len(self._held)

    async def wait_for_room(self) -> None:
        while self.room <= 0:
            self._freed.clear()
            await self._freed.wait()

    def take(self, delivery: Delivery) -> GenerateRequest | None:
        """The request to run; None if its entry was taken before or its id is held already."""
        request = delivery.request
        if delivery.entry in self._taken or request.id in self._held:
            return None
        self._taken.add(delivery.entry)
        self._held[request.id] = _Held(delivery)
        self._total += 1
        return request

    def reconcile(self, pending: Iterable[Delivery]) -> None:
        """`pending` is all the bus says this engine has: what is no longer there was settled and may be forgotten."""
        self._taken &= {delivery.entry for delivery in pending}

    def start(self, request: RequestId) -> list[tuple[int, Record]]:
        """(shard, Started), unless it was told before or the request has ended meanwhile."""
        held = self._held.get(request)
        if held is None or held.started:
            return []
        held.started = True
        whole = held.delivery.request
        short = replace(whole, prompt=whole.prompt[-PROMPT_TAIL:])
        return [(whole.shard, Started(str(held.delivery.entry.id), short))]

    def tell(self, delta: Delta) -> list[tuple[int, Record]]:
        """What the token stream says of this delta, with the shard it goes to; an end strikes the request out."""
        held = self._held.get(delta.id)
        if held is None:
            return []
        records = self.start(delta.id)
        shard, attempt = held.delivery.request.shard, held.delivery.request.attempt
        if delta.ids:
            records.append((shard, Tokens(delta.id, attempt, delta.offset, delta.ids)))
        if delta.finish:
            end = delta.offset + len(delta.ids)
            records.append((shard, Finished(delta.id, attempt, end, delta.finish, delta.detail)))
            del self._held[delta.id]
            self._freed.set()
        return records

    def statistics(self) -> dict[str, int]:
        return {"held": len(self._held), "capacity": self._capacity, "taken_total": self._total}
