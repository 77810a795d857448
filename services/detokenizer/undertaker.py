"""Moves on what dead engines held: fence, read to the end, then settle or queue again (PROTOCOL 6, 7, 11).

An executor is dead when its lease is gone, judged only after this process has been connected without a break for
JUDGE_S, or when its stream ends with a tombstone. What it wrote before the fence counts. A request that is queued again
carries all that was accepted, so whoever takes it goes on at the next token.
"""

import logging
from collections.abc import Awaitable, Callable, Set
from dataclasses import replace

from services.detokenizer.links import Links
from services.detokenizer.ownership import Ownership
from services.detokenizer.patience import Patience
from services.detokenizer.session import Session
from services.detokenizer.sessions import Sessions
from services.detokenizer.tracing import Tracing
from shared.bus import Bus, Entry, Moved, Settled, Snapshot, StreamId
from shared.messages import GenerateRequest
from shared.telemetry.spans import Context, request_digest
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
        tracing: Tracing,
        wall_s: Callable[[], float],
    ) -> None:
        self._bus = bus
        self._patience = patience
        self._ownership = ownership
        self._sessions = sessions
        self._links = links
        self._shard, self._shards = shard, shards
        self._tracing = tracing
        self._wall_s = wall_s
        self._ended: dict[str, bool] = {}  # executors with a tombstone -> did they leave by themselves?
        self._moved = 0
        self._fenced = 0

    def hear(self, executor: str, drained: bool) -> None:
        """A tombstone was read."""
        self._ended.setdefault(executor, drained)

    async def tend(self, snapshot: Snapshot, reached: Reached) -> list[str]:
        """End what is dead, move on what it held. Returns the executors that can be forgotten. Raises Retired."""
        await self._discard()
        dead = [executor for executor in self._known(snapshot) if self._dead(executor, snapshot)]
        for executor in dead:
            marker = await self._patience.ask(self._bus.fence, executor, self._shard)
            if executor not in self._ended:
                self._fenced += 1
                self._tracing.instruments.fences.inc()
            if marker is not None:
                await reached(executor, marker)
            self._ended.setdefault(executor, False)
        held = set(snapshot.pending.values())
        if held.intersection(dead) or any(self._strays(snapshot)):
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

    async def _discard(self) -> None:
        """Requests that cannot be read, or whose shard does not exist, are kept for people and trouble nobody more."""
        while count := len(self._ownership.nobodys):
            async with self._ownership.alone:
                await self._ownership.discard()
            log.error("%d requests are nobody's: they lie in the stream of the dead now", count)

    def forget(self, executor: str) -> None:
        """It is buried."""
        self._ended.pop(executor, None)

    def clear(self) -> None:
        """What was read is to be read anew."""
        self._ended.clear()

    def statistics(self) -> dict[str, int]:
        return {"moved": self._moved, "fenced": self._fenced, "dead": len(self._ended)}

    def _known(self, snapshot: Snapshot) -> list[str]:
        return sorted(snapshot.executors.union(snapshot.pending.values()))

    def _dead(self, executor: str, snapshot: Snapshot) -> bool:
        if executor in self._ended:
            return True
        return executor not in snapshot.leases and self._patience.connected_s() >= JUDGE_S

    def _strays(self, snapshot: Snapshot) -> tuple[list[Entry], list[Entry]]:
        """What no dead engine accounts for (PROTOCOL 9, 10): entries to move on, and entries to drop, as their request
        has a better one. What has ended is settled by others."""
        dropped = [entry for entries in self._ownership.entries.repeated() for entry in self._superseded(entries)]
        moved = [entry for entry, request in snapshot.entries.items() if self._is_stray(entry, request, snapshot)]
        return [entry for entry in moved if entry not in dropped], dropped

    def _is_stray(self, entry: Entry, request: GenerateRequest, snapshot: Snapshot) -> bool:
        """Given out and held by nobody, as after the deletion of a consumer; or of an older attempt than its session,
        or of the same and in another place, as after a restart of the bus that has forgotten it."""
        lost = entry.id <= snapshot.delivered[entry.lane] and entry not in snapshot.pending
        session = self._sessions.get(request.id)
        if session is None or session.end:
            return lost and session is None
        forgotten = request.attempt == session.attempt and session.entry not in (None, entry)
        return lost or forgotten or request.attempt < session.attempt

    def _superseded(self, entries: list[Entry]) -> list[Entry]:
        """All but the newest attempt; of equal ones the one that runs stays, or the older."""
        requests = self._ownership.entries.all
        session = self._sessions.get(requests[entries[0]].id)
        runs = session.entry if session else None
        best = max(sorted(entries, key=lambda one: one.id), key=lambda one: (requests[one].attempt, one == runs))
        return [entry for entry in entries if entry != best]

    async def _move(self, dead: frozenset[str]) -> None:
        """Decide from a look at the shard that nothing of ours has changed since."""
        async with self._ownership.alone:
            snapshot = await self._ownership.snapshot()
            strays, dropped = self._strays(snapshot)
            held: dict[Entry, str | None] = dict.fromkeys(strays)
            held |= {e: name for e, name in snapshot.pending.items() if name in dead and e not in dropped}
            whole = await self._patience.ask(self._bus.requests, list(held))
            self._ownership.entries.drop(entry for entry in held if entry not in whole)  # by other hands than ours
            settled: list[Settled] = []
            moved: list[Moved] = []
            for entry, request in whole.items():
                self._judge(entry, request, held[entry], settled, moved)
            if settled:
                await self._ownership.settle(settled)
            if moved or dropped:
                await self._ownership.move(moved, dropped)
        for one in moved:
            self._say(whole[one.entry], one.request, held[one.entry])
        self._moved += len(moved)

    def _say(self, old: GenerateRequest, new: GenerateRequest, executor: str | None) -> None:
        """`new` is queued in place of `old`."""
        digest, context = request_digest(new.parent_id), Context.parse(new.traceparent)
        trace = {"trace_id": context.trace, "span_id": context.span} if context else {}
        log.info("request %s.%d moves on at token %d", digest, new.index, len(new.output), extra=trace)
        cause = "stray" if executor is None else "drain" if self._ended[executor] else "death"
        self._tracing.moved(old, new, executor, cause)

    def _judge(
        self,
        entry: Entry,
        request: GenerateRequest,
        executor: str | None,
        settled: list[Settled],
        moved: list[Moved],
    ) -> None:
        """What becomes of an entry whose executor, if it has any, is dead and read to the end."""
        session = self._sessions.get(request.id)
        if session is not None:  # an older attempt's stream may not be read to its end yet
            session.catch_up(request)
        grown = session is not None and len(session.ids) > len(request.output)  # a new token clears the count
        deaths = (0 if grown else request.deaths) + self._killed(session, executor)
        dead = None
        if session is not None and not session.end and deaths > MOST_DEATHS:
            session.finish(FinishReason.ERROR, POISON)
            self._links.touch([request.parent_id])
            self._tracing.leaves(request)
            self._tracing.poisoned(request)
            dead = request
        if session is not None and session.end:
            settled.append(Settled(entry, session.outcome(), dead))
            return
        again = replace(request, attempt=request.attempt + 1, deaths=deaths, sent_ms=self._wall_s() * 1000)
        if session is not None:
            self._tracing.leaves(request)
            attempt = max(request.attempt, session.attempt) + 1
            again = replace(again, attempt=attempt, **session.progress)
            session.release(attempt)
        moved.append(Moved(entry, again))

    def _killed(self, session: Session | None, executor: str | None) -> int:
        """1 if this executor died while it ran the session; to leave is no death, and to wait in a queue no guilt."""
        if executor is None or session is None or session.executor != executor:
            return 0
        return int(not self._ended[executor])
