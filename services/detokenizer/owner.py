"""The owner of a shard: reads what engines write, and settles what has ended (PROTOCOL 3, 5, 8, 12, 13, 15).

Its tasks share the sessions and never wait while they change them:
- read: records into sessions, and what changed to the gateways' links.
- settle: ended requests, all that have gathered, in one transaction after the other.
- cancels: what the engines must be told.
- tend: about each second one look at the whole shard: what the bus remembers and this process does not, and what may be
  forgotten here or there. It starts from a snapshot and judges only what was known before that was taken.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from itertools import islice

from services.detokenizer.cancels import Cancels
from services.detokenizer.links import Links
from services.detokenizer.ownership import Ownership
from services.detokenizer.patience import Patience
from services.detokenizer.recall import Recall
from services.detokenizer.session import Session
from services.detokenizer.sessions import News, Sessions
from services.detokenizer.undertaker import Undertaker
from shared.bus import ZERO, Bus, Settled, Snapshot, Step, StreamId
from shared.messages import Born, Cancel, Control, ShardStatus, Tombstone
from shared.types import RequestId

log = logging.getLogger("sluice.detokenizer")

LEASE_MS = 3000
TEND_S = READ_WAIT_S = REREAD_S = 1.0
SETTLE_BATCH = 128
STEPS_AT_ONCE = 16  # then other tasks may run


class Owner:
    """`status` says who we are; its `instance` is the nonce of our claim. Settled answers stay in memory for `keep_s`,
    and at most `keep_parents` of them."""

    def __init__(
        self,
        bus: Bus,
        sessions: Sessions,
        links: Links,
        status: ShardStatus,
        shards: int,
        keep_s: float = 30.0,
        keep_parents: int = 256,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._patience = Patience(now_s)
        self._cancels = Cancels(bus, self._patience)
        self._recall = Recall(bus, self._patience, sessions, links, now_s)
        self._sessions = sessions
        self._links = links
        self._status = status
        self._shard = status.shard
        self._keep_s, self._keep_parents = keep_s, keep_parents
        self._now_s = now_s
        self._ownership = Ownership(bus, self._patience, status.shard, status.instance)
        self._undertaker = Undertaker(bus, self._patience, self._ownership, sessions, links, status.shard, shards)
        self._cursors: dict[str, StreamId] = {}
        self._control = ZERO
        self._gaps: set[str] = set()  # executors whose stream must be read again
        self._reread_s: dict[str, float] = {}  # and when that was done last
        self._trimmed: dict[str, StreamId] = {}
        self._unsettled: dict[RequestId, Session] = {}  # ended, and not yet on the bus
        self._ended = asyncio.Event()
        self._look = asyncio.Event()
        self._progress = asyncio.Event()  # something was read
        self._tending = asyncio.Lock()
        self._settled = 0

    @property
    def ready(self) -> bool:
        return self._ownership.claimed and self._patience.reachable

    def look(self) -> None:
        """Tend to the shard now rather than within a second: a gateway asks for something unknown."""
        self._look.set()

    async def run(self) -> None:
        """Own the shard until somebody else does: raises Retired, perhaps in a group."""
        await self._ownership.claim()
        log.info("shard %d is ours (%s)", self._shard, self._status.instance)
        await self._look_at()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(), name="read")
            tasks.create_task(self._settle(), name="settle")
            tasks.create_task(self._cancels.run(), name="cancels")
            tasks.create_task(self._tend(), name="tend")
            tasks.create_task(self._renew(), name="lease")

    # ---- read
    async def _read(self) -> None:
        while True:
            self._begin_again()
            cursors = dict(self._cursors)
            steps, control = await self._patience.ask(self._bus.read, self._shard, cursors, self._control, READ_WAIT_S)
            self._hear(control)  # first: a `Started` behind a cancel must find it
            for start in range(0, len(steps), STEPS_AT_ONCE):
                self._consume(steps[start : start + STEPS_AT_ONCE])
                await asyncio.sleep(0)

    def _hear(self, control: Sequence[tuple[StreamId, Control]]) -> None:
        for at, message in control:
            self._control = at
            match message:
                case Born(executor):
                    self._cursors.setdefault(executor, ZERO)
                case Cancel():
                    self._cancels.hear(message)

    def _consume(self, steps: Sequence[Step]) -> None:
        news = News()
        for step in steps:
            self._cursors[step.executor] = step.id
            self._sessions.consume(step, news)
            for record in step.records:
                if isinstance(record, Tombstone):
                    self._undertaker.hear(step.executor, record.drained)
                    self.look()
        self._progress.set()
        for session in news.started:
            self._links.begin(session.request.parent_id, session.request.gateway)
            self._cancels.repeat(session)
        for session in news.ended:
            self._unsettled[session.request.id] = session
            self._ended.set()
        for id, reason in news.overrun.items():
            self._cancels.say(id, reason)
        self._gaps |= news.gaps
        self._links.touch(news.changed)

    def _begin_again(self) -> None:
        """Streams with a gap are read from their start, each at most once in REREAD_S."""
        now_s = self._now_s()
        for executor in list(self._gaps):
            if now_s - self._reread_s.get(executor, now_s - REREAD_S) >= REREAD_S:
                log.warning("a gap in the tokens of %s: reading its stream again", executor)
                self._cursors[executor] = ZERO
                self._reread_s[executor] = now_s
                self._gaps.discard(executor)

    # ---- settle
    async def _settle(self) -> None:
        while True:
            await self._ended.wait()
            self._ended.clear()
            while batch := list(islice(self._unsettled.values(), SETTLE_BATCH)):
                settled = [Settled(one.entry, one.outcome()) for one in batch if one.entry and not one.settled]
                if settled:
                    async with self._ownership.alone:
                        await self._ownership.settle(settled)
                for one in batch:
                    if not one.settled:  # recalled meanwhile, and perhaps forgotten
                        self._sessions.settle(one, self._now_s())
                    self._unsettled.pop(one.request.id, None)
                self._settled += len(settled)

    # ---- tend
    async def _tend(self) -> None:
        while True:
            try:
                async with asyncio.timeout(TEND_S):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()
            await self.tend()

    async def tend(self) -> None:
        """One look at the whole shard; the dead are seen to while others read. Raises Retired."""
        async with self._tending:
            snapshot = await self._look_at()
            for executor in await self._undertaker.tend(snapshot, self._reached):
                self._forget(executor)

    async def _reached(self, executor: str, at: StreamId) -> None:
        """Until this executor's stream was read up to there; `_read` does that. Raises Retired."""
        self._cursors.setdefault(executor, ZERO)
        while self._cursors.get(executor, at) < at:
            self._progress.clear()
            try:
                async with asyncio.timeout(TEND_S):
                    await self._progress.wait()
            except TimeoutError:
                await self._ownership.snapshot()  # nothing comes: has a new owner buried it?

    async def _look_at(self) -> Snapshot:
        """What the bus remembers and this process does not, and what may be forgotten here or there."""
        sessions, missing, cancelled = self._sessions.unsettled(), self._sessions.missing(), self._cancels.heard()
        wanted = [parent for parent in self._links.wanted() if parent not in self._sessions]
        known = set(self._cursors)
        snapshot = await self._ownership.snapshot()
        for executor in known.difference(snapshot.executors, snapshot.pending.values()):  # born and buried long ago
            self._forget(executor)
        for executor in snapshot.executors:
            self._cursors.setdefault(executor, ZERO)
        live = {session.request.id for session in sessions}
        await self._undertaker.settle_again(snapshot, live)
        requests = {request.id for request in snapshot.entries.values()}
        parents = {request.parent_id for request in snapshot.entries.values()}
        for id in live.union(missing) - requests:
            await self._recall.request(id)
        for parent in wanted:
            if parent not in parents:
                await self._recall.parent(parent)
        self._cancels.forget(id for id in cancelled if id not in requests and id not in parents)
        for session in sessions:
            self._cancels.repeat(session)
        self._sessions.forget(self._now_s() - self._keep_s, self._keep_parents, self._links.wanted())
        await self._trim()
        return snapshot

    async def _trim(self) -> None:
        """Streams begin at the `Started` of the oldest unsettled session, and never above what was read here. What was
        read last stays: its writer may look for it after an unclear reply (PROTOCOL 1)."""
        below = {executor: cursor for executor, cursor in self._cursors.items() if cursor != ZERO}
        for session in self._sessions.unsettled():
            if session.executor in below and session.started:
                below[session.executor] = min(below[session.executor], session.started)
        moved = {executor: at for executor, at in below.items() if self._trimmed.get(executor) != at}
        if moved:
            await self._patience.ask(self._bus.trim, self._shard, moved)
            self._trimmed.update(moved)

    def _forget(self, executor: str) -> None:
        """Its stream is gone."""
        for known in (self._cursors, self._trimmed, self._reread_s):
            known.pop(executor, None)
        self._gaps.discard(executor)
        self._undertaker.forget(executor)

    async def _renew(self) -> None:
        while True:
            await self._patience.ask(self._bus.announce_shard, self._status, LEASE_MS)
            await asyncio.sleep(LEASE_MS / 3000)

    def statistics(self) -> dict[str, object]:
        return {
            "owned": int(self._ownership.claimed),
            "streams": len(self._cursors),
            "settled": self._settled,
            "unsettled": len(self._unsettled),
            "bus": self._patience.statistics(),
            "undertaker": self._undertaker.statistics(),
            "cancels": self._cancels.statistics(),
        }
