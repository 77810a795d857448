"""Moves on what dead engines held: fence, read to the end, then settle or queue again (PROTOCOL 6, 7, 11).

An executor is dead when its lease is gone, judged only after this process has been connected without a break for
JUDGE_S, or when its stream ends with a tombstone. What it wrote before the fence counts. A request that is queued again
carries all that was accepted, so whoever takes it goes on at the next token.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import replace

from services.detokenizer.links import Links
from services.detokenizer.ownership import Ownership
from services.detokenizer.patience import Patience
from services.detokenizer.session import Session
from services.detokenizer.sessions import Sessions
from shared.bus import Bus, Entry, Moved, Settled, Snapshot, StreamId
from shared.messages import GenerateRequest
from shared.types import FinishReason, RequestId

log = logging.getLogger("sluice.detokenizer")

JUDGE_S = 3.0
MOST_DEATHS = 3  # one more fails the request: it is what kills the engines
POISON = "every engine that ran this request died"

Reached = Callable[[str, StreamId], Awaitable[None]]  # returns once that executor's stream was read up to there


class Undertaker:
    def __init__(
        self,
        bus: Bus,
        patience: Patience,
        ownership: Ownership,
        sessions: Sessions,
        links: Links,
        shard: int,
        shards: int,
    ) -> None:
        self._bus = bus
        self._patience = patience
        self._ownership = ownership
        self._sessions = sessions
        self._links = links
        self._shard, self._shards = shard, shards
        self._ended: dict[str, bool] = {}  # executors with a tombstone -> did they leave by themselves?
        self._moved = 0
        self._fenced = 0

    def hear(self, executor: str, drained: bool) -> None:
        """A tombstone was read."""
        self._ended.setdefault(executor, drained)

    async def tend(self, snapshot: Snapshot, reached: Reached) -> list[str]:
        """End what is dead, move on what it held. Returns the executors that can be forgotten. Raises Retired."""
        dead = [executor for executor in self._known(snapshot) if self._dead(executor, snapshot)]
        for executor in dead:
            marker = await self._patience.ask(self._bus.fence, executor, self._shard)
            self._fenced += executor not in self._ended
            if marker is not None:
                await reached(executor, marker)
            self._ended.setdefault(executor, False)
        held = set(snapshot.pending.values())
        if held.intersection(dead):
            await self._move(frozenset(dead))
        needed = {executor for executor in snapshot.executors if executor in held or self._sessions.runs_on(executor)}
        forgotten = [executor for executor in dead if executor not in needed]
        for executor in forgotten:
            await self._patience.ask(self._bus.bury, executor, self._shard, self._shards)
        return forgotten

    async def settle_again(self, snapshot: Snapshot, live: Set[RequestId]) -> None:
        """Entries of requests that were settled before this look, elsewhere in the stream (PROTOCOL 9)."""
        ended = [
            Settled(entry, session.outcome())
            for entry, request in snapshot.entries.items()
            if request.id not in live and (session := self._sessions.get(request.id)) and session.settled
        ]
        if ended:
            async with self._ownership.alone:
                await self._ownership.settle(ended)

    def forget(self, executor: str) -> None:
        """It is buried."""
        self._ended.pop(executor, None)

    def statistics(self) -> dict[str, int]:
        return {"moved": self._moved, "fenced": self._fenced, "dead": len(self._ended)}

    def _known(self, snapshot: Snapshot) -> list[str]:
        return sorted(snapshot.executors.union(snapshot.pending.values()))

    def _dead(self, executor: str, snapshot: Snapshot) -> bool:
        if executor in self._ended:
            return True
        return executor not in snapshot.leases and self._patience.connected_s() >= JUDGE_S

    async def _move(self, dead: frozenset[str]) -> None:
        """Decide from a look at the shard that nothing of ours has changed since."""
        async with self._ownership.alone:
            snapshot = await self._ownership.snapshot()
            settled: list[Settled] = []
            moved: list[Moved] = []
            for entry, executor in snapshot.pending.items():
                if executor in dead:
                    self._judge(entry, snapshot.entries, executor, settled, moved)
            if settled:
                await self._ownership.settle(settled)
            if moved:
                await self._ownership.move(moved)
        for one in moved:
            log.info("%s moves on at token %d", one.request.id, len(one.request.output))
        self._moved += len(moved)

    def _judge(
        self,
        entry: Entry,
        entries: Mapping[Entry, GenerateRequest],
        executor: str,
        settled: list[Settled],
        moved: list[Moved],
    ) -> None:
        """What becomes of an entry whose executor is dead and read to the end."""
        request = entries[entry]
        session = self._sessions.get(request.id)
        if session is not None:  # an older attempt's stream may not be read to its end yet
            session.accept(request.output[len(session.ids) :])
        grown = session is not None and len(session.ids) > len(request.output)  # a new token clears the count
        deaths = (0 if grown else request.deaths) + self._killed(session, executor)
        if session is not None and not session.end and deaths > MOST_DEATHS:
            session.finish(FinishReason.ERROR, POISON)
            self._links.touch([request.parent_id])
        if session is not None and session.end:
            settled.append(Settled(entry, session.outcome()))
            return
        again = replace(request, attempt=request.attempt + 1, deaths=deaths)
        if session is not None:
            attempt = max(request.attempt, session.attempt) + 1
            again = replace(again, attempt=attempt, output=tuple(session.ids))
            session.release(attempt)
        moved.append(Moved(entry, again))

    def _killed(self, session: Session | None, executor: str) -> int:
        """1 if this executor died while it ran the session; to leave is no death, and to wait in a queue no guilt."""
        ran = session is not None and session.executor == executor
        return int(ran and not self._ended[executor])
