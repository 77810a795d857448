"""The one owner of what this engine was given: which entries, which requests, and how far each has been told.

Inbox writes it, outbox reads it and strikes out what ended. The scheduler knows ids; what a record needs besides
(shard, attempt, entry) is known only here.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from services.engine.core.events import Delta
from services.engine.quiet import quiet_tracks
from services.engine.tracks import Tracks
from shared.bus import Delivery, Entry
from shared.messages import Cached, Finished, GenerateRequest, Record, Started, Tokens
from shared.types import FinishReason, RequestId, Score


@dataclass(slots=True)
class _Held:
    delivery: Delivery
    started: bool = False
    seated: bool = False  # it is known how much of its prompt was cached
    output: list[int] = field(default_factory=list)  # what this engine has added
    scores: list[Score] = field(default_factory=list)  # of it, if they are wanted
    published: int = -1  # tokens of that which are on the bus for sure; 0: `Started` is
    leaving: bool = False  # its end in the scheduler will mean that it is parked
    parked: bool = False  # not in the scheduler, to be submitted later

    @property
    def request(self) -> GenerateRequest:
        """As it goes on from here."""
        whole = self.delivery.request
        if not self.output:
            return whole
        return replace(whole, output=whole.output + tuple(self.output), scores=whole.scores + tuple(self.scores))


class Ledger:
    def __init__(self, capacity: int, tracks: Tracks | None = None) -> None:
        self._capacity = capacity
        self._tracks = tracks or quiet_tracks()
        self._held: dict[RequestId, _Held] = {}
        self._taken: set[Entry] = set()  # what was taken once is never taken again (PROTOCOL 9)
        self._told: set[RequestId] = set()  # and not yet on the bus for sure
        self._freed = asyncio.Event()
        self._news = asyncio.Event()
        self._total = 0

    @property
    def held(self) -> int:
        return len(self._held)

    @property
    def room(self) -> int:
        return self._capacity - len(self._held)

    async def wait_for_room(self) -> None:
        while self.room <= 0:
            self._freed.clear()
            await self._freed.wait()

    def take(self, delivery: Delivery) -> GenerateRequest | None:
        """The request to run; None if its entry was taken before or its id is held already. What is held of an older
        attempt is for others to run: see `outdated`."""
        request = delivery.request
        if delivery.entry in self._taken or request.id in self._held:
            return None
        self._taken.add(delivery.entry)
        self._held[request.id] = _Held(delivery)
        self._tracks.taken(request)
        self._total += 1
        return request

    def outdated(self, delivery: Delivery) -> bool:
        """Does this engine run an older attempt? Its owner has moved the request, and nothing of that counts."""
        held = self._held.get(delivery.request.id)
        return held is not None and held.delivery.request.attempt < delivery.request.attempt

    def drop(self, request: RequestId) -> None:
        """It was set aside, and will not go on."""
        if self._held.pop(request, None) is not None:
            self._tracks.ended(request, "set aside", 0)
        self._freed.set()

    def reconcile(self, pending: Iterable[Delivery]) -> None:
        """`pending` is all the bus says this engine has: what is no longer there was settled and may be forgotten."""
        self._taken &= {delivery.entry for delivery in pending}

    def start(self, request: RequestId, cached: int | None = None) -> list[tuple[int, Record]]:
        """(shard, Started), unless it was told before or the request has ended meanwhile. `cached`: what of it was
        computed before, once it has a row; a second row here finds its own blocks, which counts for nothing."""
        held = self._held.get(request)
        if held is None:
            return []
        told = [] if held.started else [self._started(request, held)]
        if cached is not None and not held.seated:
            held.seated = True
            whole = held.delivery.request
            if cached and not whole.attempt:
                told.append((whole.shard, Cached(request, whole.attempt, cached)))
        return told

    def _started(self, request: RequestId, held: _Held) -> tuple[int, Record]:
        held.started = True
        self._told.add(request)
        whole = held.delivery.request
        sampling = replace(whole.sampling, grammar="") if whole.sampling.grammar else whole.sampling
        traceparent = self._tracks.traceparent(request) or whole.traceparent
        # The entry has all of it.
        short = replace(whole, prompt=whole.shown_prompt, sampling=sampling, traceparent=traceparent)
        return whole.shard, Started(str(held.delivery.entry.id), short)

    def tell(self, delta: Delta) -> list[tuple[int, Record]]:
        """What the token stream says of this delta, with the shard it goes to; an end strikes the request out."""
        held = self._held.get(delta.id)
        if held is None:
            return []
        records = self.start(delta.id)
        shard, attempt = held.delivery.request.shard, held.delivery.request.attempt
        self._told.add(delta.id)
        if delta.ids:
            held.output += delta.ids
            held.scores += delta.scores
            records.append(
                (shard, Tokens(delta.id, attempt, delta.offset, delta.ids, delta.scores, delta.prompt_scores))
            )
        if delta.finish is FinishReason.CANCEL and held.leaving:
            held.leaving, held.parked = False, True
            self._tracks.aside(delta.id)
        elif delta.finish:
            end = delta.offset + len(delta.ids)
            self._tracks.ended(delta.id, delta.finish, len(held.output), delta.detail)
            records.append((shard, Finished(delta.id, attempt, end, delta.finish, delta.detail)))
            del self._held[delta.id]
            self._freed.set()
        return records

    def publish(self) -> None:
        """All that was told is on the bus."""
        for id in self._told:
            if held := self._held.get(id):
                held.published = len(held.output)
        self._told.clear()
        self._news.set()

    def published(self, request: RequestId, tokens: int) -> bool:
        """Is its start on the bus, and so many tokens behind it; or has it ended?"""
        held = self._held.get(request)
        return held is None or held.published >= tokens

    async def until(self, true: Callable[[], bool]) -> None:
        """What others publish here makes it true."""
        while not true():
            self._news.clear()
            await self._news.wait()

    # ---- what is not in the scheduler for a while
    def running(self) -> list[RequestId]:
        return [id for id, held in self._held.items() if not held.parked]

    def ids(self) -> list[RequestId]:
        return list(self._held)

    def park(self, requests: Iterable[RequestId]) -> None:
        """These were not submitted yet."""
        for id in requests:
            self._held[id].parked = True

    def set_aside(self, requests: Iterable[RequestId]) -> None:
        """These are being ended in the scheduler, to be submitted again later; other ends count as ever."""
        for id in requests:
            if held := self._held.get(id):
                held.leaving = True

    def unpark(self, request: RequestId) -> GenerateRequest | None:
        """What to submit now, with the tokens it had; None if it has ended meanwhile."""
        held = self._held.get(request)
        if held is None or not held.parked:
            return None
        held.parked = False
        return held.request

    def unpark_all(self) -> list[GenerateRequest]:
        return [request for id in list(self._held) if (request := self.unpark(id))]

    def cancel(self, name: str) -> list[Delta]:
        """The ends of what is parked under this request's or parent's id: the scheduler does not know it."""
        ended: list[Delta] = []
        for id, held in self._held.items():
            if name in (id, held.delivery.request.parent_id):
                held.leaving = False  # its end counts
                if held.parked:
                    held.parked = False
                    ended.append(Delta(id, len(held.request.output), (), FinishReason.CANCEL))
        return ended

    def statistics(self) -> dict[str, int]:
        return {"held": len(self._held), "capacity": self._capacity, "taken_total": self._total}
