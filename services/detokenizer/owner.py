"""The owner of a shard: reads what engines write, and settles what has ended (PROTOCOL 3, 5, 8, 12, 13, 15).

Its tasks share the sessions and never wait while they change them:
- read: records into sessions, and what changed to the gateways' links.
- settle: ended requests (`settling.py`).
- cancels: what the engines must be told.
- tend: about each second one look at the whole shard: what the bus remembers and this process does not, and what may be
  forgotten here or there. It starts from a snapshot and judges only what was known before that was taken.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from services.detokenizer.cancels import UNREAD, Cancels
from services.detokenizer.kept import Kept
from services.detokenizer.links import Links
from services.detokenizer.ownership import Ownership
from services.detokenizer.patience import Patience
from services.detokenizer.queued import end_queued
from services.detokenizer.recall import Recall
from services.detokenizer.sessions import News, Sessions
from services.detokenizer.settling import Settling
from services.detokenizer.streams import Streams
from services.detokenizer.tracing import Tracing
from services.detokenizer.trimming import Trimming
from services.detokenizer.undertaker import Undertaker
from shared import cancellation
from shared.bus import Bus, Rewound, Snapshot, Step, StreamId
from shared.messages import Born, Cancel, Control, ShardStatus, Tombstone

log = logging.getLogger("sluice.detokenizer")

LEASE_MS = 3000
TEND_S = 1.0
STEPS_AT_ONCE = 16  # then other tasks may run


class Owner:
    """`status` says who we are; its `instance` is the nonce of our claim. Settled answers stay in memory for `keep_s`,
    and at most `keep_parents` of them; on the bus for `retention_s`, and at most `keep_bytes`."""

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
        retention_s: float = 600.0,
        keep_bytes: int = 256 << 20,
        tracing: Tracing | None = None,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._tracing = tracing = tracing or Tracing.silent()
        self._patience = Patience(now_s)
        self._cancels = Cancels(bus, self._patience)
        self._recall = Recall(bus, self._patience, sessions, links, now_s, retention_s)
        self._sessions = sessions
        self._links = links
        self._status = status
        self._shard = status.shard
        self._keep_s, self._keep_parents = keep_s, keep_parents
        self._now_s = now_s
        self._ownership = Ownership(bus, self._patience, status.shard, status.instance, shards)
        self._undertaker = Undertaker(
            bus, self._patience, self._ownership, sessions, links, status.shard, shards, tracing, wall_s
        )
        self._streams = Streams(bus, self._patience, status.shard, now_s)
        self._trimming = Trimming(bus, self._patience, self._ownership, sessions, status.shard)
        kept = Kept(keep_bytes, retention_s, now_s)
        self._settling = Settling(bus, self._patience, self._ownership, sessions, kept, tracing, now_s)
        self._look = asyncio.Event()
        self._tending = asyncio.Lock()

    @property
    def ready(self) -> bool:
        return self._ownership.claimed and self._patience.reachable

    def look(self) -> None:
        """Tend to the shard now rather than within a second: a gateway asks for something unknown."""
        self._look.set()

    async def run(self) -> None:
        """Own the shard until somebody else does: raises Retired, perhaps in a group."""
        while True:
            try:
                await cancellation.apart(self._own())
            except* Rewound:
                log.warning("the bus has another memory, perhaps an older one: saying what is known here")
                self._rewind()

    async def _own(self) -> None:
        """For as long as the bus remembers. Raises Retired, Rewound."""
        self._recall.rewound(await self._ownership.claim())
        log.info("shard %d is ours (%s)", self._shard, self._status.instance)
        await self._resume()
        await self._look_at()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(), name="read")
            tasks.create_task(self._settling.run(), name="settle")
            tasks.create_task(self._cancels.run(), name="cancels")
            tasks.create_task(self._tend(), name="tend")
            tasks.create_task(self._renew(), name="lease")

    async def _resume(self) -> None:
        """Long requests, whose token streams no longer begin at their start."""
        snapshot = await self._ownership.snapshot()
        attempts = {snapshot.entries[entry].id: snapshot.entries[entry].attempt for entry in snapshot.pending}
        news = News()
        for checkpoint in await self._patience.ask(self._bus.checkpoints, list(attempts)):
            if checkpoint.started.request.attempt == attempts[checkpoint.started.request.id]:
                self._sessions.resume(checkpoint, news)
        for session in news.started:
            self._tracing.began(session)
        self._spread(news)

    def _rewind(self) -> None:
        """What ended is settled again, all else is queued again as soon as its entry is seen (PROTOCOL 10)."""
        for part in (self._streams, self._trimming, self._undertaker):
            part.clear()
        self._settling.again(self._sessions.rewind())
        self._recall.rewound()
        self.look()

    # ---- read
    async def _read(self) -> None:
        while True:
            steps, control = await self._streams.read()
            self._hear(control)  # first: a `Started` behind a cancel must find it
            for start in range(0, len(steps), STEPS_AT_ONCE):
                self._consume(steps[start : start + STEPS_AT_ONCE])
                await asyncio.sleep(0)

    def _hear(self, control: Sequence[tuple[StreamId, Control]]) -> None:
        for at, message in control:
            self._streams.heard(at)
            match message:
                case Born(executor):
                    self._streams.add([executor])
                case Cancel():
                    self._cancels.hear(message)

    def _consume(self, steps: Sequence[Step]) -> None:
        news = News()
        for step in steps:
            known = len(news.started)
            self._streams.took(step)
            self._sessions.consume(step, news)
            self._tracing.took(step, news.started[known:])
            for record in step.records:
                if isinstance(record, Tombstone):
                    self._undertaker.hear(step.executor, record.drained)
                    self.look()
        self._spread(news, steps[0].at_ms)

    def _spread(self, news: News, at_ms: float = 0.0) -> None:
        """`at_ms`: when the first of it was written."""
        for session in news.started:
            self._links.begin(session.request.parent_id, session.request.gateway)
            self._cancels.repeat(session)
        for session in news.ended:
            self._settling.add(session)
        self._tracing.ended(news.ended)
        self._tracing.changed(news.changed, at_ms, self._sessions.tokens)
        for id, reason in news.overrun.items():
            self._cancels.say(id, reason)
        self._streams.again(news.gaps)
        self._links.touch(news.changed)

    # ---- tend
    async def _tend(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TEND_S):
                    await self._look.wait()
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
        while not await self._streams.reached(executor, at, TEND_S):
            await self._ownership.snapshot()  # nothing comes: has a new owner buried it?

    async def _look_at(self) -> Snapshot:
        """What the bus remembers and this process does not, and what may be forgotten here or there."""
        sessions, missing, cancelled = self._sessions.unsettled(), self._sessions.missing(), self._cancels.heard()
        wanted = [parent for parent in self._links.wanted() if parent not in self._sessions]
        left = self._links.attendance.known()
        known = self._streams.known().keys()
        snapshot = await self._ownership.snapshot()
        for executor in known - snapshot.executors - set(snapshot.pending.values()):  # born and buried long ago
            self._forget(executor)
        self._streams.add(snapshot.executors)
        live = {session.request.id for session in sessions}
        await self._undertaker.settle_again(snapshot, live)
        entries = self._ownership.entries
        for id in live.union(missing):
            if not entries.has(id):
                await self._recall.request(id)
        for parent in wanted:
            if not entries.has_parent(parent):
                await self._recall.parent(parent)
        self._links.attendance.forget(parent for parent in left if not entries.has_parent(parent))
        for parent in self._links.unread(snapshot.entries.values()):
            self._cancels.ask(parent, UNREAD)
        self._spread(end_queued(snapshot, self._cancels, self._sessions, await self._patience.ask(self._bus.now_ms)))
        self._cancels.forget(id for id in cancelled if not entries.has(id) and not entries.has_parent(id))
        for session in sessions:
            self._cancels.repeat(session)
        self._sessions.forget(self._now_s() - self._keep_s, self._keep_parents, self._links.wanted())
        self._tracing.sweep()
        await self._trimming.trim(self._streams.known())
        return snapshot

    def _forget(self, executor: str) -> None:
        """Its stream is gone."""
        for part in (self._streams, self._trimming, self._undertaker, self._tracing):
            part.forget(executor)

    async def _renew(self) -> None:
        while True:
            await self._patience.ask(self._bus.announce_shard, self._status, LEASE_MS)
            await asyncio.sleep(LEASE_MS / 3000)

    def statistics(self) -> dict[str, object]:
        return {
            "owned": int(self._ownership.claimed),
            "streams": len(self._streams),
            **self._settling.statistics(),
            "bus": self._patience.statistics(),
            "tracing": self._tracing.statistics(),
            "trimming": self._trimming.statistics(),
            "undertaker": self._undertaker.statistics(),
            "cancels": self._cancels.statistics(),
        }
